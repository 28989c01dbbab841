"""A product of two matrices that is never multiplied out, TransformerLens' own."""

from transformer_lens import FactoredMatrix as FactoredMatrix
