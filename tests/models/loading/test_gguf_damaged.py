"""GGUF files that are cut off, changed, foreign or of a kind that is not read: each refused with file and reason."""

import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading.converted import converted
from models.loading.gguf import read_gguf
from models.loading.gguf_file import open_gguf

from .gguf_files import llama_fields, llama_tensors, random_llama, write_gguf, write_llama

MODEL = random_llama()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "tiny.gguf", MODEL)


def changed(path: Path, at: int, new: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(new)
    return path


def load(path: Path) -> HookedTransformer:
    return converted(read_gguf(path), HookedTransformer, device="cpu")


def test_a_file_that_is_cut_off_anywhere_is_refused(path: Path) -> None:
    content = path.read_bytes()
    ends = max(tensor.end for tensor in open_gguf(path).tensors.values())
    for size in [*range(0, 3000, 13), *range(3000, ends, 9973), ends - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"tiny\.gguf (is cut off|is not a GGUF file)"):
            read_gguf(path)
    path.write_bytes(content[:ends])
    assert isinstance(load(path), HookedTransformer)


def test_no_changed_byte_of_the_header_ends_in_another_error(path: Path) -> None:
    content = path.read_bytes()
    header = min(tensor.start for tensor in open_gguf(path).tensors.values())
    outcomes = set()
    for at in range(0, header, 3):
        try:
            read_gguf(changed(path, at, bytes([content[at] ^ (1 << at % 8)])))
            outcomes.add("read")
        except CheckpointError as error:
            outcomes.add("refused" if "tiny.gguf" in str(error) else str(error))
        changed(path, at, content[at : at + 1])
    # A letter of the model's name, say, changes nothing that could be noticed.
    assert outcomes == {"read", "refused"}


def test_a_number_that_is_not_finite_is_refused_with_tensor_and_file(path: Path) -> None:
    tensor = open_gguf(path).tensors["blk.1.ffn_norm.weight"]
    assert isinstance(load(path), HookedTransformer)
    changed(path, tensor.start, struct.pack("<f", float("nan")))
    message = r"tiny.gguf: model.layers.1.post_attention_layernorm.weight has 1 of 96 numbers"
    with pytest.raises(CheckpointError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("at", "new", "message"),
    [
        (0, b"GGML", "is not a GGUF file"),
        (4, struct.pack("<I", 4), "has GGUF version 4; versions 2 and 3 are read"),
        (4, struct.pack("<I", 0), "has GGUF version 0; versions 2 and 3 are read"),
        (4, struct.pack(">I", 3), "was written for a big-endian machine"),
        (8, struct.pack("<Q", 2**60), "is cut off or damaged"),
        (16, struct.pack("<Q", 2**60), "is cut off or damaged"),
        (24, struct.pack("<Q", 2**63), "is cut off or damaged: a text at byte 24 needs 9223372036854775816 bytes"),
    ],
)
def test_a_beginning_that_is_wrong_is_refused(path: Path, at: int, new: bytes, message: str) -> None:
    read_gguf(path)
    with pytest.raises(CheckpointError, match=rf"tiny\.gguf {message}"):
        read_gguf(changed(path, at, new))


def test_what_is_no_file_or_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "text.gguf").write_text("weights")
    for name, message in (("absent", "is not a file"), ("empty", "is not a GGUF file"), ("text", "is not a GGUF file")):
        with pytest.raises(CheckpointError, match=rf"{name}\.gguf {message}"):
            read_gguf(tmp_path / f"{name}.gguf")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"llama__expert_count": 8}, r"llama\.expert_count=8, which is not read here.*TransformerBridge"),
        ({"llama__rope__scaling__type": "yarn"}, r"llama\.rope\.scaling\.type='yarn', which is not read here"),
        ({"llama__attention__sliding_window": 16}, r"sliding_window=16, which is not read here"),
        ({"llama__attention__value_length": 16}, r"value_length=16; models of this type are built with 32"),
        ({"llama__rope__dimension_count": 16}, r"dimension_count=16; models of this type are built with 32"),
        ({"llama__block_count": None}, r"lacks the metadata field llama\.block_count"),
        ({"llama__block_count": "two"}, r"block_count='two'; expected a positive integer"),
        ({"llama__attention__head_count": [6, 6]}, r"head_count=\[6, 6\]; expected a positive integer"),
        ({"llama__block_count": 0}, r"block_count=0; expected a positive integer"),
        ({"llama__block_count": 3}, r"missing model\.layers\.2\.input_layernorm\.weight"),
        ({"llama__block_count": 1}, r"without a place model\.layers\.1\.input_layernorm\.weight"),
        ({"llama__embedding_length": 90}, r"has shape \[40, 96\]; the config asks for \[40, 90\]"),
        ({"llama__attention__head_count": 5}, r"multiple"),
        ({"llama__attention__head_count_kv": 7}, r"multiple"),
        ({"llama__rope__freq_base": -1.0}, r"freq_base=-1\.0; expected a positive number"),
        ({"general__type": "adapter"}, "holds a 'adapter', not a whole model"),
        ({"split__count": 2}, "is one of 2 parts of a model; join them"),
        ({"general__alignment": 31}, "general.alignment=31, which is not a power of two"),
    ],
)
def test_metadata_that_is_not_this_models_is_refused_by_name(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    assert isinstance(load(write_llama(tmp_path / "whole.gguf", MODEL)), HookedTransformer)
    with pytest.raises(CheckpointError, match=message):
        load(write_llama(tmp_path / "tiny.gguf", MODEL, **fields))


def test_fields_that_change_nothing_are_let_through(tmp_path: Path) -> None:
    fields = {"llama__expert_count": 0, "llama__attention__causal": True, "llama__attention__sliding_window": 29}
    assert isinstance(load(write_llama(tmp_path / "tiny.gguf", MODEL, **fields)), HookedTransformer)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("llamb.rope.freq_base", 300.0, "llama.rope.freq_base"),
        ("qwen2.rope.freq_base", 300.0, "llama.rope.freq_base"),
        ("llamb.attention.clamp_kqv", 1.0, "llama.attention.clamp_kqv"),
        ("llama/rope.freq_base", 300.0, "llama.rope.freq_base"),
        ("llama.rope.freq_baqe", 300.0, "llama.rope.freq_base"),
        ("llamb.rope.scale_linear", 2.0, "llama.rope.scale_linear"),
        ("tokenizer.ggml.add_boc_token", False, "tokenizer.ggml.add_bos_token"),
        ("tokenizer.ggml.eot_token_if", 1, "tokenizer.ggml.eot_token_id"),
    ],
)
def test_a_field_whose_name_is_almost_one_that_is_read_is_refused(
    tmp_path: Path, name: str, value: Any, meant: str
) -> None:
    fields = {"llama__rope__freq_base": None, name.replace(".", "__"): value}
    message = f"tiny.gguf has the metadata field '{name}', which would not be read; '{meant}' would be"
    with pytest.raises(CheckpointError, match=re.escape(message)):
        read_gguf(write_llama(tmp_path / "tiny.gguf", MODEL, **fields))


def test_fields_of_other_namespaces_are_let_through(tmp_path: Path) -> None:
    names = ("quantize.imatrix.file", "imatrix.chunk_count", "adapter.lora.alpha", "clip.vision.block_count")
    names += ("training.block_count", "split.tensors.count", "mine.author", "mine.of.rope.freq_base", "general.lama")
    fields = {name.replace(".", "__"): 3 for name in names}
    plain, more = (read_gguf(write_llama(tmp_path / "tiny.gguf", MODEL, **given)).config for given in ({}, fields))
    assert more == plain


def test_no_flipped_bit_in_a_name_of_a_field_leaves_another_model(path: Path) -> None:
    content, names = path.read_bytes(), open_gguf(path).fields
    for name in names:
        start = content.index(name.encode())
        for at in range(start, start + len(name)):
            flipped = bytes([content[at] ^ 1 << at % 8])
            with pytest.raises(CheckpointError, match=r"tiny\.gguf"):
                read_gguf(changed(path, at, flipped))
            changed(path, at, content[at : at + 1])
    assert len(names) > 10
    assert isinstance(load(path), HookedTransformer)


def test_an_architecture_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "mamba", {}, llama_tensors(MODEL))
    with pytest.raises(CheckpointError, match=r"architecture 'mamba'; read are llama, .*qwen2.*TransformerBridge"):
        read_gguf(path)


def test_tensors_of_another_model_are_named(tmp_path: Path) -> None:
    fields, tensors = llama_fields(MODEL.config), llama_tensors(MODEL)
    more = tensors | {"blk.0.ffn_gate_inp.weight": np.ones((3, 96), np.float32)}
    with pytest.raises(CheckpointError, match=r"without a place blk\.0\.ffn_gate_inp\.weight"):
        load(write_gguf(tmp_path / "more.gguf", "llama", fields, more))
    del tensors["token_embd.weight"]
    with pytest.raises(CheckpointError, match=r"has no tensor 'token_embd.weight'"):
        read_gguf(write_gguf(tmp_path / "less.gguf", "llama", fields, tensors))


def test_tensors_that_overlap_are_refused(path: Path) -> None:
    content, name = path.read_bytes(), b"output_norm.weight"
    # Behind the name stand the number of axes, one axis, the type, and the offset.
    at = content.index(name) + len(name) + 4 + 8 + 4
    with pytest.raises(CheckpointError, match=r"tensors '.*' and '.*' overlap"):
        read_gguf(changed(path, at, struct.pack("<Q", 64)))


def test_without_the_package_the_way_to_it_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match=r"needs the package gguf to be read: pip install 'interp\[gguf\]'"):
        read_gguf(path)
