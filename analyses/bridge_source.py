"""A model as TransformerLens 4 runs it: a `TransformerBridge` around the `transformers` model."""

import json
from pathlib import Path
from typing import Any

import torch

from .errors import BadFileError
from .foreign_words import without_foreign_words


def can_be_bridged(path: Path) -> bool:
    """Whether it is a folder that `transformers` can read."""
    config = path / "config.json"
    return config.is_file() and "model_type" in json.loads(config.read_text(encoding="utf-8"))


def booted(path: Path) -> Any:
    """The folder's model as a bridge, in float32 and evaluation mode; nothing is folded.

    In float32, because `transformers` computes norms, patterns and angles in it whatever the weights are.

    Raises:
        BadFileError: no folder of Hugging Face's, or one that TransformerLens cannot boot.
    """
    if not can_be_bridged(path):
        raise BadFileError(
            f"--bridge runs a folder or hub name of Hugging Face's, and {str(path)!r} holds no config.json with a "
            "model_type; leave --bridge out"
        )
    from transformer_lens.model_bridge import TransformerBridge  # takes seconds to import

    try:
        with without_foreign_words():
            bridge: Any = TransformerBridge.boot_transformers(str(path), device="cpu", dtype=torch.float32)
    except Exception as error:  # errors of several packages
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadFileError(f"TransformerLens cannot boot {str(path)!r}: {reason}") from error
    return bridge.eval()
