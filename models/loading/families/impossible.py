"""Values that no program can run, told apart from those that only we lack."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ...errors import CheckpointError

_COUNTS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "num_layers", "num_heads", "window_size",
    "n_embd", "n_inner", "n_layer", "n_head", "n_positions", "ffn_dim",
)  # fmt: skip
_ADDED = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")


def require_possible(given: Mapping[str, Any]) -> None:
    """Nothing, if each number of the config is one that a model can have.

    Raises:
        CheckpointError: it is too small, under the name that it has in the config.
    """
    for name in _COUNTS:
        if _is_number(given.get(name)) and given[name] < 1:
            raise CheckpointError(f"{name}={given[name]} must be at least 1")
    for name in _ADDED:
        if _is_number(given.get(name)) and given[name] < 0:
            raise CheckpointError(f"{name}={given[name]} must not be negative")


def nowhere(name: str, value: object, known: Iterable[str]) -> CheckpointError:
    """The error for a name that `transformers` does not have either, with the nearest one that it has."""
    nearest = get_close_matches(str(value), list(known), n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return CheckpointError(f"{name}={value!r} is not one that transformers has.{hint}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))
