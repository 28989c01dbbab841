"""SentencePiece tokenizers from GGUF files: against the `sentencepiece` package, which trained them."""

import io
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from models.errors import CheckpointError
from models.loading.gguf import read_gguf

from .gguf_files import llama_fields, llama_tensors, random_llama, write_gguf

SENTENCES = [
    "The old man and the sea; the young man and the mountain.",
    "In 1999 there were 23 cats, 4 dogs and    many spaces.",
    "She sells sea shells on the sea shore, he sees her shells.",
    "def f(x): return x + 1",
]
TEXTS = [
    *SENTENCES,
    "",
    " ",
    "  two before",
    "behind  ",
    "naïve café 日本 🙂",
    "tab\tand\nline",
    "theseathesea",
    "▁a ▁",
]


def trained(prefix: bool) -> sentencepiece.SentencePieceProcessor:
    """Merges of bytes and letters, the text left as it is, as Llama's were trained."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_writer=model,
        model_type="bpe",
        vocab_size=360,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix,
        user_defined_symbols=["<think>"],
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def fields_of(processor: sentencepiece.SentencePieceProcessor, prefix: bool) -> dict[str, Any]:
    """The metadata, with the numbers that the converter gives to the kinds of tokens."""
    ids = range(processor.get_piece_size())
    kinds = [
        6 if processor.is_byte(i) else 3 if processor.is_control(i) else 2 if processor.is_unknown(i) else 1
        for i in ids
    ]
    kinds[processor.piece_to_id("<think>")] = 4
    return {
        "model": "llama",
        "tokens": [processor.id_to_piece(i) for i in ids],
        "scores": [processor.get_score(i) for i in ids],
        "token_type": kinds,
        "bos_token_id": processor.bos_id(),
        "eos_token_id": processor.eos_id(),
        "unknown_token_id": processor.unk_id(),
        "add_space_prefix": prefix,
    }


PROCESSOR = trained(prefix=True)
MODEL = random_llama(vocab_size=PROCESSOR.get_piece_size())


def write(path: Path, fields: dict[str, Any], **changes: Any) -> Path:
    given = {f"tokenizer.ggml.{name}": value for name, value in {**fields, **changes}.items() if value is not None}
    return write_gguf(path, "llama", {**llama_fields(MODEL.config), **given}, llama_tensors(MODEL))


@pytest.mark.parametrize("prefix", [True, False])
def test_text_becomes_the_tokens_that_sentencepiece_gives(tmp_path: Path, prefix: bool) -> None:
    processor = PROCESSOR if prefix else trained(prefix=False)
    tokenizer = read_gguf(write(tmp_path / "tiny.gguf", fields_of(processor, prefix), add_bos_token=False)).tokenizer
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        if text:
            assert ids == processor.encode(text), text
        assert tokenizer.decode(ids) == text.replace("\u2581", " ")
    assert len({i for text in TEXTS for i in tokenizer(text)["input_ids"] if not processor.is_byte(i)}) > 60


def test_a_text_begins_with_a_token_unless_the_file_says_no(tmp_path: Path) -> None:
    fields = fields_of(PROCESSOR, True)
    for changes, begins in (({}, True), ({"add_bos_token": True}, True), ({"add_bos_token": False}, False)):
        tokenizer = read_gguf(write(tmp_path / "tiny.gguf", fields, **changes)).tokenizer
        assert (tokenizer("the sea")["input_ids"][0] == PROCESSOR.bos_id()) is begins


def test_control_tokens_are_found_whole_and_special(tmp_path: Path) -> None:
    tokenizer = read_gguf(write(tmp_path / "tiny.gguf", fields_of(PROCESSOR, True), add_bos_token=False)).tokenizer
    ids = tokenizer("<s>the<think> sea</s>")["input_ids"]
    assert (ids[0], ids[-1]) == (PROCESSOR.bos_id(), PROCESSOR.eos_id())
    assert ids.count(PROCESSOR.piece_to_id("<think>")) == 1
    assert "<s>" not in tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, r"no number for each in tokenizer\.ggml\.scores"),
        ({"token_type": [1, 2]}, r"no number for each in tokenizer\.ggml\.token_type"),
        ({"unknown_token_id": 10**6}, "unknown_token_id=1000000"),
        ({"tokens": ["a"] * MODEL.config.vocab_size}, "tokens stand twice"),
    ],
)
def test_what_contradicts_itself_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    fields = fields_of(PROCESSOR, True)
    assert read_gguf(write(tmp_path / "whole.gguf", fields)).tokenizer is not None
    with pytest.raises(CheckpointError, match=rf"tiny\.gguf.*{message}"):
        read_gguf(write(tmp_path / "tiny.gguf", fields, **changes))


def test_gemmas_is_refused(tmp_path: Path) -> None:
    fields = {f"tokenizer.ggml.{name}": value for name, value in fields_of(PROCESSOR, True).items()}
    path = write_gguf(
        tmp_path / "tiny.gguf", "gemma", {**llama_fields(MODEL.config, "gemma"), **fields}, llama_tensors(MODEL)
    )
    with pytest.raises(CheckpointError, match=r"kind 'llama' \(read are .* but for Gemma's\)"):
        read_gguf(path)
    assert read_gguf(path, with_tokenizer=False).tokenizer is None
