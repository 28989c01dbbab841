"""Our side of the comparison."""

from transformer_lens import TransformerLensKeyValueCache

from models import HookedTransformer, HookedTransformerConfig

from .observations import Side

OURS = Side(HookedTransformerConfig, HookedTransformer, TransformerLensKeyValueCache)
