"""The cache of keys and values under the names that TransformerLens gave it before 3.0."""

from transformer_lens import TransformerLensKeyValueCache as HookedTransformerKeyValueCache
from transformer_lens import TransformerLensKeyValueCacheEntry as HookedTransformerKeyValueCacheEntry

__all__ = ["HookedTransformerKeyValueCache", "HookedTransformerKeyValueCacheEntry"]
