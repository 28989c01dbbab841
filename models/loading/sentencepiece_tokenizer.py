"""A `tokenizer.model` of SentencePiece, built as the same in a GGUF file, and held against SentencePiece's own cuts.

`transformers` 5.23 turns such a file into a tokenizer that loses a space at the beginning of a text, or that puts none
there, depending on the class that the folder names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .gguf_file import Described
from .gguf_tokenizer import gguf_tokenizer

_ORDINARY, _UNKNOWN, _CONTROL, _UNUSED, _BYTE = 1, 2, 3, 5, 6
_PROBES = (
    "The cat sat.", "two  spaces,   three", " before and after ", "a\tb\nc\r\n\n d", "1234567890 3.14", "café ﬁ ½",
    "Trăm năm trong cõi người ta", "日本語 עברית", "🙂👍🏽", "{x: [y]} != x", "",
)  # fmt: skip


def sentencepiece_tokenizer(path: Path, settings: Mapping[str, Any]) -> Any:
    """The tokenizer of the file as a `transformers.PreTrainedTokenizerFast`.

    Args:
        settings: the special tokens and the padding side that the folder names.

    Raises:
        CheckpointError: no SentencePiece model, the package `sentencepiece` is missing, or one that cuts text by rules
            that are not built here.
    """
    original = _opened(path)
    n_tokens = original.vocab_size()
    tokens = [original.id_to_piece(at) for at in range(n_tokens)]
    fields = {
        "model": "llama",
        "tokens": tokens,
        "scores": [original.get_score(at) for at in range(n_tokens)],
        "token_type": [_kind(original, at) for at in range(n_tokens)],
        "unknown_token_id": original.unk_id(),
        "add_space_prefix": original.encode("x", out_type=str)[0] != "x",
        "add_bos_token": original.bos_id() >= 0,
        **{
            f"{name}_token_id": number
            for name, number in (("bos", original.bos_id()), ("eos", original.eos_id()), ("padding", original.pad_id()))
            if number >= 0
        },
    }
    tokenizer = gguf_tokenizer(Described(path, {f"tokenizer.ggml.{name}": value for name, value in fields.items()}))
    for text in _PROBES:
        found, expected = tokenizer.encode(text, add_special_tokens=False), original.encode(text)
        if found != expected:
            raise CheckpointError(
                f"{path} cuts text by rules that are not built here: {text!r} is {expected} there and {found} here. "
                "Save it as a tokenizer.json, which is read as it stands"
            )
    for name, value in settings.items():
        if value is not None:
            if name != "padding_side" and value not in tokens:
                raise CheckpointError(f"{path} has no token {value!r}, which the folder names as its {name}")
            setattr(tokenizer, name, value)
    return tokenizer


def _opened(path: Path) -> Any:
    try:
        from sentencepiece import SentencePieceProcessor  # optional, and needed for nothing else
    except ImportError as error:
        raise CheckpointError(
            f"{path} needs the package sentencepiece to be read: pip install sentencepiece"
        ) from error
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} is not a SentencePiece model: {error}") from error


def _kind(original: Any, at: int) -> int:
    if original.is_unknown(at):
        return _UNKNOWN
    if original.is_control(at):
        return _CONTROL
    if original.is_unused(at):
        return _UNUSED
    return _BYTE if original.is_byte(at) else _ORDINARY
