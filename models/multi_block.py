"""The textbook's stack: pre-norm blocks of multi-head attention and feed-forward."""

from typing import Any

from .config import HookedTransformerConfig
from .errors import ConfigError


def multi_block(
    n_layers: int = 4,
    n_heads: int = 4,
    d_model: int = 256,
    d_vocab: int = 50257,
    n_ctx: int = 256,
    **changes: Any,
) -> HookedTransformerConfig:
    """Blocks x + attention(LN(x)), then x + mlp(LN(x)) with a GELU MLP of 4 d_model neurons; a final LayerNorm.

    The heads share the stream's width (`d_head = d_model / n_heads`); weights start at std 0.02. The textbook's
    sizes are 2, 4, 8 and 12 blocks, 4 and 8 heads, widths 256 and 512; others work as well.

    Args:
        changes: any other field of `HookedTransformerConfig`.

    Raises:
        ConfigError: the heads do not divide the width, or a field that is not known or does not fit.
    """
    if "d_head" not in changes and (n_heads < 1 or d_model % n_heads):
        raise ConfigError(f"d_model={d_model} cannot be shared equally among n_heads={n_heads}; give d_head")
    textbook = {
        "n_layers": n_layers,
        "n_heads": n_heads,
        "d_model": d_model,
        "d_head": changes.get("d_head", d_model // max(n_heads, 1)),
        "d_vocab": d_vocab,
        "n_ctx": n_ctx,
        "act_fn": "gelu",
        "initializer_range": 0.02,
        "model_name": "multi-block",
    }
    return HookedTransformerConfig.from_dict(textbook | changes)
