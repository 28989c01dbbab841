"""TransformerLens' sweeps of activation patching."""

from transformer_lens.patching import *  # noqa: F403
