"""TransformerLens' rough evaluations. Those that download their text need a network, as they always did."""

from transformer_lens.evals import *  # noqa: F403
