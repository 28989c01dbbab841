"""Tokenizers from GGUF files: against byte-pair encoding written out in a few lines, on the `regex` package."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers.convert_slow_tokenizer import bytes_to_unicode

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading.converted import converted
from models.loading.gguf import read_gguf
from models.loading.gguf_splits import SPLITS

from .gguf_files import llama_fields, llama_tensors, random_llama, write_gguf

TEXT = (
    "In 1999, it's 23 cats' 4th  day; we'LL see 12345 of them.\n\n\tNaïve café ½ m² \u0065\u0301 日本語 🙂 … don't\r\n"
    "def f(x):\n    return x+1   \n"
)
CONTROL = ["<|begin|>", "<|end|>"]
RULES = {
    "gpt-2": [r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
    "smollm": [r"\p{N}", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
    "llama-bpe": [
        r"'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
}
"""As llama.cpp writes the rules: without a flag for the case of letters."""


def trained() -> tuple[list[str], list[str]]:
    """A vocabulary of the 256 bytes, two control tokens, one that a user added, and what merges make; the merges."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator([TEXT[:40], TEXT[40:80], TEXT[80:], TEXT[:60]] * 3, trainer)
    state = json.loads(tokenizer.to_str())["model"]
    numbers = {token: at for token, at in state["vocab"].items()}
    return [*CONTROL, "<think>", *sorted(numbers, key=numbers.__getitem__)], [" ".join(m) for m in state["merges"]]


UNREACHED = "\u0120them"
"""A token that no merges make: only a rule that takes whole pieces first finds it."""

TOKENS, MERGES = trained()
assert UNREACHED not in TOKENS
TOKENS = [*TOKENS, UNREACHED]
MODEL = random_llama(vocab_size=len(TOKENS))


def write(path: Path, **changes: Any) -> Path:
    """A file with this tokenizer; a change of None leaves the field out."""
    fields: dict[str, Any] = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": TOKENS,
        "merges": MERGES,
        "token_type": [3, 3, 4] + [1] * (len(TOKENS) - 3),
        "bos_token_id": 0,
        "eos_token_id": 1,
        **changes,
    }
    given = {f"tokenizer.ggml.{name}": value for name, value in fields.items() if value is not None}
    return write_gguf(path, "llama", {**llama_fields(MODEL.config), **given}, llama_tensors(MODEL))


def encoded(text: str, rule: str) -> list[int]:
    """The tokens of a text: cut by the patterns one after another, then the earliest merge first."""
    pieces = [text]
    for pattern in RULES[rule]:
        pieces = [part for piece in pieces for part in regex.split(f"({pattern})", piece) if part]
    letters = bytes_to_unicode()
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(MERGES)}
    ids = []
    for piece in pieces:
        parts = [letters[byte] for byte in piece.encode()]
        if rule == "llama-bpe" and "".join(parts) in TOKENS:
            parts = ["".join(parts)]
        while pairs := [pair for pair in pairwise(parts) if pair in ranks]:
            at = next(i for i in range(len(parts)) if tuple(parts[i : i + 2]) == min(pairs, key=ranks.__getitem__))
            parts[at : at + 2] = ["".join(parts[at : at + 2])]
        ids += [TOKENS.index(part) for part in parts]
    return ids


@pytest.mark.parametrize("rule", RULES)
def test_text_becomes_the_tokens_that_the_rule_and_the_merges_make(tmp_path: Path, rule: str) -> None:
    tokenizer = read_gguf(write(tmp_path / "tiny.gguf", pre=rule, add_bos_token=False)).tokenizer
    for text in (TEXT, *TEXT.split("\n"), *TEXT.split(" ")):
        assert tokenizer(text)["input_ids"] == encoded(text, rule)
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert (TOKENS.index(UNREACHED) in tokenizer(TEXT)["input_ids"]) is (rule == "llama-bpe")


def test_rules_differ_on_this_text() -> None:
    assert len({tuple(encoded(TEXT, rule)) for rule in RULES}) == len(RULES)


def test_every_rule_leaves_the_text_whole(tmp_path: Path) -> None:
    text = TEXT.replace("\u0065\u0301", "")  # what has no composed form is left
    for rule in SPLITS:
        tokenizer = read_gguf(write(tmp_path / "tiny.gguf", pre=rule, add_bos_token=False)).tokenizer
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_control_tokens_are_found_whole_and_special(tmp_path: Path) -> None:
    tokenizer = read_gguf(write(tmp_path / "tiny.gguf", **{"unknown_token_id": 1, "padding_token_id": 1})).tokenizer
    ids = tokenizer("<|begin|>cat<think>s<|end|>")["input_ids"]
    assert (ids[0], ids[-1], ids.count(2)) == (0, 1, 1)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "cat<think>s"
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|begin|>", "<|end|>")
    assert (tokenizer.unk_token, tokenizer.pad_token) == ("<|end|>", "<|end|>")


@pytest.mark.parametrize(
    ("fields", "begins"),
    [
        ({}, False),
        ({"add_bos_token": True}, True),
        ({"pre": "llama-bpe"}, True),
        ({"pre": "llama-bpe", "add_bos_token": False}, False),
    ],
)
def test_a_text_begins_as_the_file_says(tmp_path: Path, fields: dict[str, Any], begins: bool) -> None:
    source = read_gguf(write(tmp_path / "tiny.gguf", **fields))
    assert (source.tokenizer("cat")["input_ids"][0] == 0) is begins
    model = converted(source, HookedTransformer, device="cpu")
    assert model.cfg.tokenizer_prepends_bos is begins
    bare = model.to_tokens("cat", prepend_bos=False)[0].tolist()
    assert bare == encoded("cat", "gpt-2")
    assert model.to_tokens("cat", prepend_bos=True)[0].tolist() == [0, *bare]


def test_the_chat_template_comes_along(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.gguf")
    assert read_gguf(path).tokenizer.chat_template is None
    fields = {**llama_fields(MODEL.config), "tokenizer.chat_template": "{{ messages[0]['content'] }}!"}
    fields |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2"}
    fields |= {"tokenizer.ggml.tokens": TOKENS, "tokenizer.ggml.merges": MERGES}
    tokenizer = read_gguf(write_gguf(path, "llama", fields, llama_tensors(MODEL))).tokenizer
    assert tokenizer.apply_chat_template([{"role": "user", "content": "cat"}], tokenize=False) == "cat!"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "bert"},
            r"a tokenizer of the kind 'bert' \(read are 'gpt2', and 'llama' but for Gemma's\), which is not read",
        ),
        ({"pre": "tekken"}, r"the rule 'tekken' \(tokenizer.ggml.pre; known: gpt-2"),
        ({"pre": None}, "the rule None"),
        ({"add_eos_token": True}, "ends every text with a token"),
        ({"merges": None}, "without a list of merges"),
        ({"merges": [*MERGES, "a b c"]}, "the merge 'a b c' is not two tokens"),
        ({"merges": [*MERGES, "ab"]}, "the merge 'ab ' is not two tokens"),
        ({"merges": [*MERGES, "zzz q"]}, "tokens and merges do not fit together"),
        ({"tokens": [*TOKENS[:-1], TOKENS[5]]}, "stands twice in the vocabulary"),
        ({"tokens": None}, "without a list of tokens"),
        ({"token_type": [1, 1]}, "list of their types does not fit"),
        ({"bos_token_id": len(TOKENS)}, f"bos_token_id={len(TOKENS)}; the tokens are 0 to {len(TOKENS) - 1}"),
        ({"bos_token_id": None, "add_bos_token": True}, "bos_token_id does not name it"),
    ],
)
def test_what_is_wrong_or_not_built_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    assert read_gguf(write(tmp_path / "whole.gguf")).tokenizer is not None
    path = write(tmp_path / "tiny.gguf", **fields)
    with pytest.raises(CheckpointError, match=rf"tiny\.gguf.*{message}"):
        read_gguf(path)
    assert read_gguf(path, with_tokenizer=False).tokenizer is None


def test_a_file_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    assert read_gguf(write(tmp_path / "tiny.gguf", model=None)).tokenizer is None
