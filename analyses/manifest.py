"""The record of a run: everything that is needed to repeat it, and to know that it was repeated."""

import hashlib
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from jaxtyping import Int
from torch import Tensor

from .model_source import ModelSource
from .prompts import Prompts

_PACKAGES = ("interp", "torch", "transformer-lens", "numpy", "pandas", "plotly")


def manifest(
    model: Any, source: ModelSource, prompts: Prompts, arguments: Sequence[str] | None = None
) -> dict[str, Any]:
    """What was run on what, with which versions; the command line is that of this process unless given."""
    return {
        "command": shlex.join(["interp", *(sys.argv[1:] if arguments is None else arguments)]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": source.name,
        "weights_sha256": source.weights_sha256(),
        "dtype": str(model.cfg.dtype).removeprefix("torch."),
        "device": str(model.cfg.device),
        "tokens": prompts.origin,
        "tokens_shape": list(prompts.tokens.shape),
        "tokens_sha256": tokens_sha256(prompts.tokens),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def tokens_sha256(tokens: Int[Tensor, "batch pos"]) -> str:
    """The SHA-256 of the token ids as little-endian 64-bit numbers, row after row."""
    return hashlib.sha256(tokens.cpu().numpy().astype("<i8").tobytes()).hexdigest()
