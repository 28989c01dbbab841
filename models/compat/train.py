"""TransformerLens' training loop, which 4.0 moved and renamed."""

from transformer_lens.tools.training import TrainConfig as HookedTransformerTrainConfig
from transformer_lens.tools.training import train as train

__all__ = ["HookedTransformerTrainConfig", "train"]
