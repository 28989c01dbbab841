"""The tokenizer that a GGUF file holds, as a `transformers` tokenizer: byte-level BPE, or SentencePiece's merging.

Source: Radford et al. (2019), section 2.2, for the bytes; Sennrich et al. (2016) for the merges.
"""

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ..errors import CheckpointError
from .gguf_file import Described
from .gguf_sentencepiece import sentencepiece_merging
from .gguf_splits import SPLITS, Splits

_KEY = "tokenizer.ggml."
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
# Hugging Face's names of the special tokens, and where the file has their numbers.
_SPECIAL = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}


def gguf_tokenizer(file: Described) -> Any:
    """The tokenizer of the file as a `transformers.PreTrainedTokenizerFast`, or None if it has none.

    Bytes are merged in pieces that the rule of the file's `tokenizer.ggml.pre` cuts, SentencePiece's tokens by their
    scores; a beginning-of-text token is put first where
    the file or that rule says so. The chat template comes with it.

    Raises:
        CheckpointError: a tokenizer of another kind, a cutting rule that is not known, or tokens, merges and
            numbers that contradict one another.
    """
    kind = file.fields.get(f"{_KEY}model", "none")
    if kind in ("none", "no_vocab"):
        return None
    # The scores of Gemma's tokens do not follow the order of their merges.
    by_scores = kind == "llama" and not str(file.fields.get("general.architecture")).startswith("gemma")
    if kind != "gpt2" and not by_scores:
        raise _refused(file, f"a tokenizer of the kind {kind!r} (read are 'gpt2', and 'llama' but for Gemma's)")
    tokens = _texts(file, "tokens")
    if by_scores:
        backend, begins = sentencepiece_merging(file, tokens), True
    else:
        splits = _splits(file)
        backend, begins = _bpe(file, tokens, splits), splits.begins
    backend.add_tokens(_added(file, tokens))
    special = {name: tokens[at] for name, key in _SPECIAL.items() if (at := _token_at(file, key, tokens)) is not None}
    _begin(file, backend, begins, special.get("bos_token"), tokens)
    return _as_transformers(file, backend, special)


def _as_transformers(file: Described, backend: Tokenizer, special: dict[str, str]) -> Any:
    from transformers import PreTrainedTokenizerFast  # heavy, and needed only where text meets a model

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, clean_up_tokenization_spaces=False, padding_side="right", **special
    )
    template = file.fields.get("tokenizer.chat_template")
    if isinstance(template, str):
        tokenizer.chat_template = template
    return tokenizer


def _splits(file: Described) -> Splits:
    rule = file.fields.get(f"{_KEY}pre")
    if rule not in SPLITS:
        raise _refused(file, f"text cut by the rule {rule!r} (tokenizer.ggml.pre; known: {', '.join(SPLITS)})")
    return SPLITS[rule]


def _bpe(file: Described, tokens: list[str], splits: Splits) -> Tokenizer:
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in _texts(file, "merges"))]
    wrong = [merge for merge in merges if not all(merge) or " " in merge[1]]
    if wrong:
        raise CheckpointError(f"{file.path}: the merge {' '.join(wrong[0])!r} is not two tokens with a space between")
    numbers = {token: at for at, token in enumerate(tokens)}
    if len(numbers) < len(tokens):
        twice = next(token for at, token in enumerate(tokens) if numbers[token] != at)
        raise CheckpointError(f"{file.path}: the token {twice!r} stands twice in the vocabulary")
    try:
        backend = Tokenizer(models.BPE(vocab=numbers, merges=merges, ignore_merges=splits.whole_first))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{file.path}: tokens and merges do not fit together: {error}") from error
    if splits.normal_form:
        backend.normalizer = normalizers.NFC()
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in splits.patterns]
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def _added(file: Described, tokens: list[str]) -> list[AddedToken]:
    # They are found in a text before it is cut, as the characters they are.
    kinds = file.fields.get(f"{_KEY}token_type", [])
    if not isinstance(kinds, list) or (kinds and len(kinds) != len(tokens)):
        raise CheckpointError(f"{file.path} has {len(tokens)} tokens; its list of their types does not fit them")
    whole = (_UNKNOWN, _CONTROL, _USER_DEFINED)
    return [
        AddedToken(token, special=kind != _USER_DEFINED, normalized=False)
        for token, kind in zip(tokens, kinds, strict=False)
        if kind in whole
    ]


def _begin(file: Described, backend: Tokenizer, begins: bool, bos: str | None, tokens: list[str]) -> None:
    if file.fields.get(f"{_KEY}add_eos_token"):
        raise _refused(file, "a tokenizer that ends every text with a token (add_eos_token)")
    if not file.fields.get(f"{_KEY}add_bos_token", begins):
        return
    if bos is None:
        raise CheckpointError(f"{file.path}: every text is to begin with a token, and bos_token_id does not name it")
    backend.post_processor = processors.TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", bos, "$B"], special_tokens=[(bos, tokens.index(bos))]
    )


def _texts(file: Described, name: str) -> list[str]:
    texts = file.fields.get(f"{_KEY}{name}")
    if not isinstance(texts, list) or not texts or not isinstance(texts[0], str):
        raise CheckpointError(f"{file.path} has a tokenizer without a list of {name} ({_KEY}{name})")
    return texts


def _token_at(file: Described, key: str, tokens: list[str]) -> int | None:
    at = file.fields.get(f"{_KEY}{key}")
    if at is not None and (not isinstance(at, int) or not 0 <= at < len(tokens)):
        raise CheckpointError(f"{file.path} has {_KEY}{key}={at!r}; the tokens are 0 to {len(tokens) - 1}")
    return at


def _refused(file: Described, what: str) -> CheckpointError:
    return CheckpointError(
        f"{file.path} has {what}, which is not read here. models.loading.gguf.read_gguf(path, with_tokenizer=False) "
        "reads the weights alone"
    )
