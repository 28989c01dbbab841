"""How weights may be stored: types of numbers, several files, tied matrices, what the config says of the type."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading.converted import converted
from models.loading.gguf import read_gguf
from models.loading.hf_model import read_hf_model
from tests.conftest import random_tokens
from tests.models.loading.architectures import tiny
from tests.models.loading.gguf_files import random_llama, write_llama

WEIGHTS = "model.safetensors"
UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny("llama").save_pretrained(tmp_path)
    return tmp_path


def loaded(folder: Path, **options: Any) -> HookedTransformer:
    return HookedTransformer.from_pretrained_no_processing(folder, device="cpu", **options)


def set_fields(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8, torch.int32])
@pytest.mark.parametrize("all_of_them", [True, False])
def test_numbers_that_are_quantised_are_refused_by_the_tensors_name(
    folder: Path, kind: torch.dtype, all_of_them: bool
) -> None:
    stored = load_file(folder / WEIGHTS)
    changed = {
        name: value.to(kind) if name == UP or (all_of_them and value.ndim == 2) else value
        for name, value in stored.items()
    }
    save_file(changed, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS}: .* holds torch\.\w+: quantised weights are not read"):
        loaded(folder)
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})
    loaded(folder)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_some_numbers_of_another_precision_are_brought_to_that_of_most(folder: Path, kind: torch.dtype) -> None:
    stored = load_file(folder / WEIGHTS)
    save_file({**stored, UP: stored[UP].to(kind)}, folder / WEIGHTS, metadata={"format": "pt"})
    model = loaded(folder)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float64}
    assert torch.equal(model.blocks[1].mlp.W_in, stored[UP].to(kind).double().T)


@pytest.mark.parametrize("name", ["torch_dtype", "dtype"])
@pytest.mark.parametrize("said", ["float16", "bfloat16", None])
def test_the_files_say_their_type_and_not_the_config(folder: Path, name: str, said: str | None) -> None:
    expected = loaded(folder)(random_tokens())
    set_fields(folder, **{name: said})
    model = loaded(folder)
    assert model.cfg.dtype == torch.float64
    assert torch.equal(model(random_tokens()), expected)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    tiny("llama").save_pretrained(tmp_path, max_shard_size="9KB")
    places = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    loaded(tmp_path)
    other = next(tmp_path / file for name, file in places.items() if file != places[UP])
    save_file({**load_file(other), UP: load_file(tmp_path / places[UP])[UP]}, other)
    with pytest.raises(CheckpointError, match=rf"holds {UP}, which another file of the folder holds as well"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("case", "head"),
    [("llama, tied", "lm_head.weight"), ("gpt2", "lm_head.weight"), ("gemma", "lm_head.weight")],
)
def test_a_tied_matrix_that_is_stored_twice_must_be_one(case: str, head: str, tmp_path: Path) -> None:
    model = tiny(case)
    model.save_pretrained(tmp_path)
    expected = loaded(tmp_path)(random_tokens())
    embedding = model.get_input_embeddings().weight.detach()
    for stored, message in ((embedding, None), (embedding + 1e-6, f"{head} is not the embedding")):
        save_file(
            {**load_file(tmp_path / WEIGHTS), head: stored.clone()}, tmp_path / WEIGHTS, metadata={"format": "pt"}
        )
        if message is None:
            assert torch.equal(loaded(tmp_path)(random_tokens()), expected)
        else:
            with pytest.raises(CheckpointError, match=message):
                loaded(tmp_path)


def test_a_matrix_that_is_not_tied_must_be_there(folder: Path) -> None:
    stored = load_file(folder / WEIGHTS)
    head = stored.pop("lm_head.weight")
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing lm_head\.weight; without a place nothing"):
        loaded(folder)
    save_file({**stored, "lm_head.weight": head}, folder / WEIGHTS, metadata={"format": "pt"})
    loaded(folder)


def test_errors_name_the_place_of_the_config(folder: Path, tmp_path: Path) -> None:
    set_fields(folder, hidden_act="tanh")
    with pytest.raises(CheckpointError, match=r"^/.*/config\.json: hidden_act='tanh' is not supported"):
        loaded(folder)
    source = read_gguf(write_llama(tmp_path / "tiny.gguf", random_llama()))
    converted(source, HookedTransformer, device="cpu")
    in_memory = tiny("llama")
    in_memory.config.hidden_act = "tanh"
    for given, place in (
        (
            replace(source, config={**source.config, "hidden_act": "tanh"}),
            r"the metadata of /.*/tiny\.gguf, in Hugging",
        ),
        (read_hf_model(in_memory), "the config of this LlamaForCausalLM: hidden_act"),
    ):
        with pytest.raises(CheckpointError, match=rf"^{place}.*hidden_act='tanh' is not supported|^{place}='tanh'"):
            converted(given, HookedTransformer, device="cpu")
