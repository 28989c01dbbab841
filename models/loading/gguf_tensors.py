"""What llama.cpp changes in a model's tensors when it writes a GGUF file, undone.

Source: convert_hf_to_gguf.py of the llama.cpp project, class by class.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..errors import CheckpointError

Undo = Callable[[Tensor, Mapping[str, Any]], Tensor]
"""A tensor as the file has it, and the config: the tensor as Hugging Face has it."""


def query_rows(stored: Tensor, config: Mapping[str, Any]) -> Tensor:
    """Rows of the queries with rotary pairs in the two halves of a head, where the file has them side by side."""
    return _halves(stored, config["num_attention_heads"])


def key_rows(stored: Tensor, config: Mapping[str, Any]) -> Tensor:
    """The same of the keys."""
    return _halves(stored, config["num_key_value_heads"])


def norm_less_one(stored: Tensor, config: Mapping[str, Any]) -> Tensor:
    """A norm's weights as Gemma has them, which multiplies by one plus the weight; the file has the sum."""
    return stored - 1


def transposed(stored: Tensor, config: Mapping[str, Any]) -> Tensor:
    """A matrix as GPT-2 has it, with the inputs first; its bias has one axis, and stays."""
    return stored.T if stored.ndim == 2 else stored


def query_key_value_by_head(stored: Tensor, config: Mapping[str, Any]) -> Tensor:
    """Rows as GPT-NeoX has them, head by head; the file has all queries, then all keys, then all values."""
    n_heads = config["num_attention_heads"]
    _require_parts(stored, 3 * n_heads)
    return stored.unflatten(0, (3, n_heads, -1)).transpose(0, 1).flatten(0, 2)


def _halves(stored: Tensor, n_heads: int) -> Tensor:
    _require_parts(stored, 2 * n_heads)
    return stored.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def _require_parts(stored: Tensor, parts: int) -> None:
    if stored.shape[0] % parts:
        raise CheckpointError(
            f"{stored.shape[0]} rows are not a multiple of the {parts} parts that the config asks for"
        )
