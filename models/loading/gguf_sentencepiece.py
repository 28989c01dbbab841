"""The other kind of tokenizer that GGUF files hold: SentencePiece's merges by score, with bytes for what is unknown.

Source: Kudo and Richardson (2018), "SentencePiece"; its merging (`bpe_model`) joins the neighbours whose union scores
highest, which byte-pair encoding does too if unions are ranked by their scores.
"""

from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers

from ..errors import CheckpointError
from .gguf_file import Described

_SPACE = "\u2581"
_ORDINARY = 1
_KEY = "tokenizer.ggml."


def sentencepiece_merging(file: Described, tokens: list[str]) -> Tokenizer:
    """The tokenizer whose merges the tokens' scores give, without special tokens.

    Raises:
        CheckpointError: scores or types that do not fit the tokens, or tokens that contradict one another.
    """
    scores, kinds = (_of_every_token(file, name, len(tokens)) for name in ("scores", "token_type"))
    numbers = {token: at for at, token in enumerate(tokens)}
    if len(numbers) < len(tokens):
        raise CheckpointError(f"{file.path}: {len(tokens) - len(numbers)} tokens stand twice in the vocabulary")
    ordinary = {token for token, kind in zip(tokens, kinds, strict=True) if kind == _ORDINARY}
    ranked = sorted(ordinary, key=lambda token: (-scores[numbers[token]], numbers[token]))
    merges = [
        (token[:cut], token[cut:])
        for token in ranked
        for cut in range(1, len(token))
        if token[:cut] in ordinary and token[cut:] in ordinary
    ]
    unknown = file.fields.get(f"{_KEY}unknown_token_id", 0)
    if not isinstance(unknown, int) or not 0 <= unknown < len(tokens):
        raise CheckpointError(f"{file.path} has {_KEY}unknown_token_id={unknown!r}; there are {len(tokens)} tokens")
    backend = Tokenizer(models.BPE(numbers, merges, unk_token=tokens[unknown], fuse_unk=True, byte_fallback=True))
    backend.normalizer, backend.decoder = _spaces(file.fields.get(f"{_KEY}add_space_prefix", True))
    return backend


def _spaces(prefix: bool) -> tuple[Any, Any]:
    """Spaces as SentencePiece writes them, and back; with a prefix every text is given one more in front."""
    written: list[Any] = [normalizers.Replace(" ", _SPACE)]
    read: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        written, read = [normalizers.Prepend(_SPACE), *written], [*read, decoders.Strip(" ", 1, 0)]
    return normalizers.Sequence(written), decoders.Sequence(read)


def _of_every_token(file: Described, name: str, n_tokens: int) -> list[Any]:
    numbers = file.fields.get(f"{_KEY}{name}")
    if not isinstance(numbers, list) or len(numbers) != n_tokens or isinstance(numbers[0], str):
        raise CheckpointError(f"{file.path} has {n_tokens} tokens, and no number for each in {_KEY}{name}")
    return numbers
