"""What `transformers` can read by itself: its own folders, and GGUF files."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from .errors import BadFileError
from .foreign_words import without_foreign_words

_LISTS = ("missing", "unexpected", "mismatched")


def arguments_for(path: Path) -> dict[str, str] | None:
    """What `from_pretrained` of `transformers` is given for this folder or file; None where it reads neither."""
    if path.suffix.lower() == ".gguf":
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    config = path / "config.json"
    if config.is_file() and "model_type" in json.loads(config.read_text(encoding="utf-8")):
        return {"pretrained_model_name_or_path": str(path)}
    return None


def transformers_model(path: Path, dtype: torch.dtype) -> Any:
    """The language model as `transformers` runs it, in evaluation mode, with attention that is computed step by step.

    Raises:
        BadFileError: neither a folder nor a file of its kind, one that it cannot read, weights that it would draw at
            random or leave out, or numbers that are not finite.
    """
    from transformers import AutoModelForCausalLM  # takes seconds to import

    given: Any = arguments_for(path)
    if given is None:
        raise BadFileError(
            f"transformers cannot read {str(path)!r}: no GGUF file, and no config.json with a model_type"
        )
    try:
        with without_foreign_words():
            answer: Any = AutoModelForCausalLM.from_pretrained(
                **given, dtype=dtype, attn_implementation="eager", output_loading_info=True
            )
    except Exception as error:  # errors of several packages
        raise BadFileError(f"transformers cannot read {str(path)!r}: {first_line(error)}") from error
    model, loaded = answer
    _require_all_weights(path, loaded)
    _require_finite(path, model)
    return model.eval()


def _require_all_weights(path: Path, loaded: Mapping[str, Iterable[Any]]) -> None:
    """`transformers` draws the weights that it misses at random, and says so in a warning at most."""
    lists = {what: sorted(map(_named, loaded.get(f"{what}_keys", ()))) for what in _LISTS}
    if any(lists.values()):
        said = "; ".join(f"{what}: {', '.join(names) or 'nothing'}" for what, names in lists.items())
        raise BadFileError(f"{str(path)!r} does not hold the weights that its config asks for. {said}")


def _named(key: Any) -> str:
    """A weight of another shape is listed with both shapes."""
    return key if isinstance(key, str) else f"{key[0]} ({', '.join(str(list(shape)) for shape in key[1:])})"


def _require_finite(path: Path, model: Any) -> None:
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise BadFileError(f"{str(path)!r}: the weight {name} has values that are not finite")


def first_line(error: Exception) -> str:
    """What an error says first; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
