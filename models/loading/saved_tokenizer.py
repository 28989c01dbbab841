"""A tokenizer as text and settings, and back: the file of the `tokenizers` library and the few names beside it."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..errors import CheckpointError, TokenizerError

TOKENIZER = "tokenizer.json"
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


def tokenizer_parts(tokenizer: Any) -> tuple[str, dict[str, Any]]:
    """The content of `tokenizer.json`, and the settings that this file does not hold.

    Raises:
        TokenizerError: the tokenizer is not backed by the `tokenizers` library, so it has no such file.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise TokenizerError(
            f"a tokenizer of type {type(tokenizer).__name__} cannot be saved: the tokenizers library does not back it; "
            "use transformers.PreTrainedTokenizerFast"
        )
    # A copy without the padding and truncation of the last call, which the library keeps in the tokenizer itself.
    fresh = Tokenizer.from_str(backend.to_str())
    fresh.no_padding()
    fresh.no_truncation()
    settings: dict[str, Any] = {name: getattr(tokenizer, name) for name in _SPECIAL}
    return fresh.to_str(), {**settings, "padding_side": tokenizer.padding_side}


def rebuilt_tokenizer(path: Path, settings: dict[str, Any] | None) -> Any:
    """The tokenizer of a folder as a `transformers.PreTrainedTokenizerFast`, or None without settings.

    Raises:
        CheckpointError: the file is not a tokenizer.
    """
    if settings is None:
        return None
    from transformers import PreTrainedTokenizerFast  # heavy, and needed only where text meets a model

    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is not a file of the tokenizers library: {error}") from error
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **{name: value for name, value in settings.items() if value is not None}
    )
