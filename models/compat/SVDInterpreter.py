"""The singular vectors of a layer's weights as tokens, TransformerLens' own."""

from transformer_lens import SVDInterpreter as SVDInterpreter
