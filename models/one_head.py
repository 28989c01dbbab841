"""The smallest attention model of the textbook: one layer, one head, nothing after it."""

from typing import Any

from .config import HookedTransformerConfig


def one_head(d_model: int = 64, **changes: Any) -> HookedTransformerConfig:
    """Token and position embedding, one pre-norm attention head as wide as the stream, tied unembedding.

    Queries, keys and values have no bias, and there is neither MLP nor final norm: every logit is `x W_E^T`, where x
    is the stream after the head. Weights start at std 0.02, where attention is near-uniform.

    Args:
        d_model: width of the stream and, unless `d_head` is given, of the head.
        changes: any other field of `HookedTransformerConfig`, to replace the textbook's value.

    Raises:
        ConfigError: a field that is not known, or values that contradict one another.
    """
    textbook = {
        "d_model": d_model,
        "d_head": d_model,
        "n_heads": 1,
        "n_layers": 1,
        "n_ctx": 8,
        "d_vocab": 50257,
        "attn_only": True,
        "act_fn": None,
        "qkv_bias": False,
        "final_norm": False,
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "model_name": "one-head",
    }
    return HookedTransformerConfig.from_dict(textbook | changes)
