"""The tokenizer of llama2.c: pieces with scores, merged best first; what has no piece is spelt in bytes.

Source: github.com/karpathy/llama2.c, tokenizer.py (the file) and run.c (`encode`).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from ..errors import CheckpointError

_SPECIAL = ["<unk>", "<s>", "</s>"]
_SPACE = "▁"


def read_llama2c_tokenizer(path: str | Path, vocab_size: int) -> Any:
    """The tokenizer in a `tokenizer.bin`, as a `transformers.PreTrainedTokenizerFast`. It begins no text by itself.

    Args:
        vocab_size: the number of its pieces, which the model's header says and the file does not.

    Raises:
        CheckpointError: no such file, or one that does not hold so many pieces.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    pieces = list(_pieces(path, path.read_bytes(), vocab_size))
    texts = [*_SPECIAL, *(text.replace(" ", _SPACE) for text, _ in pieces[3:])]
    numbers = {text: number for number, text in enumerate(texts)}
    if len(numbers) < len(texts):
        raise CheckpointError(f"{path}: a piece stands twice among its {len(texts)}")
    scores = {text: score for text, (_, score) in zip(texts, pieces, strict=True)}
    # Ranked as sentencepiece merges them: the best piece first, whatever its two parts are.
    merges = [(left, right) for text in sorted(texts, key=scores.__getitem__, reverse=True)
              for left, right in _halves(text, numbers)]  # fmt: skip
    backend = Tokenizer(models.BPE(numbers, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _SPECIAL])
    from transformers import PreTrainedTokenizerFast  # heavy, and needed only where text meets a model

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", padding_side="right"
    )


def _pieces(path: Path, data: bytes, vocab_size: int) -> Iterator[tuple[str, float]]:
    at = 4  # behind the length of the longest piece
    for number in range(vocab_size):
        if at + 8 > len(data):
            raise CheckpointError(f"{path} ends after {number} pieces; the model has {vocab_size}")
        score, length = struct.unpack_from("<fi", data, at)
        at += 8 + length
        if length < 0 or at > len(data):
            raise CheckpointError(f"{path} is cut off in its piece {number}, or is no tokenizer of llama2.c's")
        try:
            yield data[at - length : at].decode(), score
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{path}: its piece {number} is no text: {error}") from error
    if at != len(data):
        raise CheckpointError(f"{path} has {len(data) - at} bytes behind its {vocab_size} pieces")


def _halves(text: str, numbers: dict[str, int]) -> list[tuple[str, str]]:
    cuts = [(text[:at], text[at:]) for at in range(1, len(text))]
    return sorted((cut for cut in cuts if cut[0] in numbers and cut[1] in numbers), key=lambda cut: numbers[cut[0]])
