"""What `transformers` can read by itself: its own folders, and GGUF files."""

import json
from pathlib import Path
from typing import Any

import torch

from .errors import BadFileError
from .foreign_words import without_foreign_words


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
        BadFileError: it cannot read what lies there.
    """
    from transformers import AutoModelForCausalLM  # takes seconds to import

    given: Any = arguments_for(path)
    try:
        with without_foreign_words():
            return AutoModelForCausalLM.from_pretrained(**given, dtype=dtype, attn_implementation="eager").eval()
    except Exception as error:  # errors of several packages
        raise BadFileError(f"transformers cannot read {str(path)!r}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What an error says first; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
