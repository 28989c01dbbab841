"""The model that a checkpoint was made for, as `transformers` runs it."""

import json
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.invariants import Invariant
from interp.invariants.source import same_logits

from .errors import BadFileError
from .foreign_words import without_foreign_words
from .model_source import ModelSource


def source_invariants(source: ModelSource, dtype: torch.dtype, tokens: Int[Tensor, "batch pos"]) -> list[Invariant]:
    """That the model gives the logits of `transformers`, where it can run the checkpoint itself; else nothing.

    Args:
        tokens: what both are run on, however short the other invariants' tokens are: windows and positions matter.

    Raises:
        BadFileError: `transformers` cannot read what the model was read from.
    """
    loading = _loading(source)
    if loading is None:
        return []
    from transformers import AutoModelForCausalLM  # takes seconds to import

    try:
        with without_foreign_words():
            theirs: Any = AutoModelForCausalLM.from_pretrained(**loading, dtype=dtype, attn_implementation="eager")
    except Exception as error:  # errors of several packages
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadFileError(f"transformers cannot read {str(source.path)!r}: {reason}") from error

    theirs.eval()

    def logits(tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"]:
        return theirs(tokens, use_cache=False).logits

    return [same_logits(logits, "transformers, on the same file", tokens)]


def _loading(source: ModelSource) -> dict[str, Any] | None:
    if source.path.suffix == ".gguf":
        return {"pretrained_model_name_or_path": str(source.path.parent), "gguf_file": source.path.name}
    config = source.path / "config.json"
    if config.is_file() and "model_type" in json.loads(config.read_text(encoding="utf-8")):
        return {"pretrained_model_name_or_path": str(source.path)}
    return None
