"""The module whose hook points have names, TransformerLens' own."""

from transformer_lens import HookedRootModule as HookedRootModule
