"""The configurations: ours under its name, and those that TransformerLens 4 has for its bridges."""

from transformer_lens.config import TransformerBridgeConfig as TransformerBridgeConfig
from transformer_lens.config import TransformerLensConfig as TransformerLensConfig

from .HookedTransformerConfig import HookedTransformerConfig as HookedTransformerConfig
