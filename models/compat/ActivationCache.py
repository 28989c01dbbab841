"""The cache of a run, TransformerLens' own: `from models.compat.ActivationCache import ActivationCache`."""

from transformer_lens import ActivationCache as ActivationCache
