"""Tokenizers of Hugging Face folders: those of `transformers` on real text, and refused where they would be others."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from models import HookedTransformer
from models.errors import CheckpointError, TokenizerError
from models.loading.hf_tokenizer import hf_tokenizer
from tests.models.loading.architectures import tiny
from tests.models.word_tokenizer import word_tokenizer


@pytest.fixture(scope="module")
def lines(shared: Path) -> list[str]:
    """Prose, headings and verse in two languages, with what is awkward beside them."""
    texts = ("text-english/wikitext-2-valid.txt", "text-english/tinystories-sample-cs336.txt")
    found = [
        line
        for name in (*texts, "text-vietnamese/truyen-kieu.txt")
        for line in (shared / "data" / name).read_text(encoding="utf-8")[:20_000].split("\n")
    ]
    assert len(found) > 300
    return [*found, "", " ", "two  spaces", "  lead and trail  ", "tab\there\r\n\n", "🙂👍🏽 naïve ﬁ ½ 10²"]


@pytest.fixture(scope="module")
def trained(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model that keeps spaces as they are, as Llama's does."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    text = shared / "data/text-english/tinystories-sample-cs336.txt"
    SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=400, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    return folder / "tokenizer.model"


def theirs(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def write(folder: Path, name: str, fields: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(fields))


def assert_same(ours: Any, other: Any, lines: list[str]) -> None:
    assert len(ours) == len(other)
    for line in lines:
        tokens = ours.encode(line)
        assert tokens == other.encode(line), line
        assert ours.decode(tokens) == other.decode(tokens), line
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        assert getattr(ours, name) == getattr(other, name)


@pytest.mark.parametrize("name", ["gpt2-tokenizer", "stories260k"])
def test_a_folders_tokenizer_is_what_transformers_makes_of_it(name: str, shared: Path, lines: list[str]) -> None:
    folder = shared / "data" / name / "hf"
    assert_same(hf_tokenizer(folder), theirs(folder), lines)


def test_a_vocabulary_and_its_merges_are_read_as_the_newer_file_is(
    shared: Path, tmp_path: Path, lines: list[str]
) -> None:
    folder = shared / "data/gpt2-tokenizer"
    write(tmp_path, "config.json", {"model_type": "gpt2"})
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(folder / name, tmp_path)
    ours = hf_tokenizer(tmp_path)
    assert_same(ours, theirs(tmp_path), lines)
    newer = hf_tokenizer(folder / "hf")
    assert all(ours.encode(line) == newer.encode(line) for line in lines)
    # It has no place to be read from again, so the model keeps it as it is.
    assert "name_or_path" not in ours.init_kwargs


def test_a_sentencepiece_model_gives_what_that_library_gives(trained: Path, tmp_path: Path, lines: list[str]) -> None:
    shutil.copy(trained, tmp_path)
    write(tmp_path, "config.json", {"model_type": "llama"})
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    original = SentencePieceProcessor(model_file=str(trained))
    tokenizer = hf_tokenizer(tmp_path)
    for line in lines:
        if "<unk>" in line:  # one token here, as in all of transformers' tokenizers, and letters there
            continue
        assert tokenizer.encode(line, add_special_tokens=False) == original.encode(line), line
        assert tokenizer.encode(line)[0] == original.bos_id()


def test_one_that_cuts_by_other_rules_is_refused(shared: Path, tmp_path: Path) -> None:
    # It leaves out doubled spaces.
    shutil.copy(shared / "data/stories260k/tok512.model", tmp_path / "tokenizer.model")
    write(tmp_path, "config.json", {"model_type": "llama"})
    with pytest.raises(CheckpointError, match=r"rules that are not built here: 'two  spaces,   three' is \[.*\] there"):
        hf_tokenizer(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("pad_token", "</s>"), ("pad_token", "<pad>"), ("padding_side", "left")])
def test_the_folder_names_the_special_tokens_of_a_sentencepiece_model(
    name: str, value: str, trained: Path, tmp_path: Path
) -> None:
    shutil.copy(trained, tmp_path)
    write(tmp_path, "tokenizer_config.json", {name: value})
    if value == "<pad>":
        with pytest.raises(CheckpointError, match="has no token '<pad>', which the folder names as its pad_token"):
            hf_tokenizer(tmp_path)
    else:
        assert getattr(hf_tokenizer(tmp_path), name) == value


def test_without_sentencepiece_the_package_is_named(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(trained, tmp_path)
    write(tmp_path, "config.json", {"model_type": "llama"})
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    hf_tokenizer(tmp_path)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(CheckpointError, match="sentencepiece"):
        hf_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config.json": '{"tokenizer_class": "LlamaTokenizer"}'}, "has tokenizer_config.json and none of"),
        ({"vocab.json": '{"a": 0}'}, "transformers makes no tokenizer of vocab.json|no vocabulary"),
        ({"vocab.json": '{"a": 0', "merges.txt": ""}, "transformers makes no tokenizer of vocab.json, merges.txt"),
        ({"tokenizer.model": "nothing"}, "tokenizer.model"),
        ({"tokenizer.json": "{}"}, "is not a file of the tokenizers library"),
        ({"tokenizer.json": "{}", "tokenizer_config.json": "["}, "tokenizer_config.json is not a readable JSON file"),
    ],
)
def test_files_that_make_no_tokenizer_are_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"model_type": "gpt2"})
    assert hf_tokenizer(tmp_path) is None
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        hf_tokenizer(tmp_path)


@pytest.mark.parametrize("settings", [{}, {"add_bos_token": True}, {"add_bos_token": False, "padding_side": "left"}])
def test_what_the_settings_say_is_done_as_in_transformers(settings: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    given = json.loads((tmp_path / "tokenizer_config.json").read_text())
    write(tmp_path, "tokenizer_config.json", {**given, **settings, "chat_template": "{{ messages }}"})
    ours = hf_tokenizer(tmp_path)
    assert_same(ours, theirs(tmp_path), ["the cat sat", "", "cat"])
    assert ours.padding_side == settings.get("padding_side", "right")
    assert ours.chat_template is None


def test_a_token_behind_every_text_is_refused(tmp_path: Path) -> None:
    word_tokenizer().save_pretrained(tmp_path)
    hf_tokenizer(tmp_path)
    backend = word_tokenizer().backend_tokenizer
    for single in (["<s>", "$A"], ["$A", "</s>"], ["<s>", "$A", "</s>"]):
        backend.post_processor = TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 1)])
        backend.save(str(tmp_path / "tokenizer.json"))
        if "</s>" not in single:
            assert hf_tokenizer(tmp_path).encode("cat") == [0, 6]
            continue
        with pytest.raises(CheckpointError, match=r"it puts \[.*'</s>'\] around every text"):
            hf_tokenizer(tmp_path)


def test_the_one_special_token_may_stand_before_a_text_and_not_behind_it(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(one_special=True)
    tokenizer.save_pretrained(tmp_path)
    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(single=["<s>", "$A"], special_tokens=[("<s>", 0)])
    backend.save(str(tmp_path / "tokenizer.json"))
    assert hf_tokenizer(tmp_path).encode("cat") == [0, 6]
    backend.post_processor = TemplateProcessing(single=["$A", "<s>"], special_tokens=[("<s>", 0)])
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"it puts \['<s>'\] around every text"):
        hf_tokenizer(tmp_path)


def test_tokens_that_stand_only_beside_the_file_are_refused(tmp_path: Path) -> None:
    word_tokenizer().save_pretrained(tmp_path)
    write(tmp_path, "added_tokens.json", {"cat": 6})
    hf_tokenizer(tmp_path)
    write(tmp_path, "added_tokens.json", {"<|im_start|>": 30})
    with pytest.raises(CheckpointError, match=r"token '<\|im_start\|>' has the number 30 in one file and None"):
        hf_tokenizer(tmp_path)


def test_special_tokens_are_found_where_older_versions_wrote_them(tmp_path: Path) -> None:
    word_tokenizer().save_pretrained(tmp_path)
    given = json.loads((tmp_path / "tokenizer_config.json").read_text())
    write(tmp_path, "tokenizer_config.json", {k: v for k, v in given.items() if not k.endswith("_token")})
    write(tmp_path, "special_tokens_map.json", {"bos_token": {"content": "<s>"}, "eos_token": "<s>"})
    tokenizer = hf_tokenizer(tmp_path)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "<s>", None)


def test_an_embedding_may_have_more_rows_than_there_are_tokens_and_not_fewer(tmp_path: Path) -> None:
    tiny("llama").save_pretrained(tmp_path)
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    assert len(tokenizer) < 37
    model = HookedTransformer.from_pretrained_no_processing(tmp_path, device="cpu")
    assert model.cfg.d_vocab == 37
    tokenizer.add_tokens([f"new{i}" for i in range(38 - len(tokenizer))])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match="the tokenizer has 38 tokens, the model's vocabulary 37"):
        HookedTransformer.from_pretrained_no_processing(tmp_path, device="cpu")
