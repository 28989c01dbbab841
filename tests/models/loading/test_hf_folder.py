"""Hugging Face folders that are damaged, incomplete or somebody's trap, each beside one that loads."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading.hf_folder import read_hf_folder
from tests.conftest import random_tokens
from tests.models.loading.architectures import tiny
from tests.models.word_tokenizer import word_tokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that loads, with its weights in one file."""
    tiny("llama").save_pretrained(tmp_path)
    loaded(tmp_path)
    return tmp_path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """The same model in several files."""
    tiny("llama").save_pretrained(tmp_path / "sharded", max_shard_size="9KB")
    loaded(tmp_path / "sharded")
    return tmp_path / "sharded"


def loaded(folder: Path, **options: Any) -> HookedTransformer:
    return HookedTransformer.from_pretrained_no_processing(folder, device="cpu", **options)


def change_weights(folder: Path, **changes: Tensor | None) -> None:
    stored = {**load_file(folder / WEIGHTS), **changes}
    kept = {name: value for name, value in stored.items() if value is not None}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    fields = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not ...}))


def test_one_file_and_several_give_the_same_model(folder: Path, sharded: Path) -> None:
    assert len(list(sharded.glob("model-*.safetensors"))) > 3
    assert torch.equal(loaded(folder)(random_tokens()), loaded(sharded)(random_tokens()))


def test_files_that_are_cut_or_are_something_else_are_refused(folder: Path) -> None:
    path, whole = folder / WEIGHTS, (folder / WEIGHTS).read_bytes()
    for damaged in (whole[:-9], whole[:50], b"", b"\xff" * 8 + whole[8:], whole[:20] + b"\x00\x01" + whole[22:]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"model\.safetensors is not a whole safetensors file"):
            loaded(folder)
    save_file({}, path)
    with pytest.raises(CheckpointError, match="holds no weights"):
        loaded(folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_is_refused(folder: Path, value: float) -> None:
    weight = load_file(folder / WEIGHTS)["model.layers.1.mlp.up_proj.weight"]
    weight[3, 2] = value
    change_weights(folder, **{"model.layers.1.mlp.up_proj.weight": weight})
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.up_proj\.weight has 1 of \d+ numbers"):
        loaded(folder)


def test_a_number_beyond_the_range_of_the_dtype_asked_for_is_refused(folder: Path) -> None:
    weight = load_file(folder / WEIGHTS)["model.norm.weight"]
    weight[0] = 1e5
    change_weights(folder, **{"model.norm.weight": weight})
    loaded(folder, dtype=torch.float32)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight has 1 of 24"):
        loaded(folder, dtype=torch.float16)


def test_both_lists_of_names_are_told(folder: Path) -> None:
    change_weights(folder, **{"model.norm.weight": None, "model.norm.scale": torch.ones(24), "score": torch.ones(2)})
    with pytest.raises(
        CheckpointError, match=r"missing model\.norm\.weight; without a place model\.norm\.scale, score\. Either"
    ):
        loaded(folder)


def test_numbers_that_are_quantised_are_refused(folder: Path) -> None:
    change_weights(folder, **{"model.norm.weight": torch.ones(24, dtype=torch.int8)})
    with pytest.raises(CheckpointError, match=r"holds torch\.int8: quantised"):
        loaded(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 38}, r"embed_tokens.weight has shape \[37, 24\]; the config asks for \[38, 24\]"),
        ({"num_hidden_layers": 4}, r"missing model\.layers\.3\.input_layernorm\.weight.* and 3 more; without"),
        ({"num_hidden_layers": 2}, r"missing nothing; without a place model\.layers\.2\.input.* and 3 more"),
        ({"model_type": "bert"}, r"type 'bert' are not converted.*gpt2, gpt_neo.*TransformerBridge"),
        (
            {"model_type": "gemma3"},
            r"type 'gemma3' read pictures too; their text part alone, saved as 'gemma3_text'.*TransformerBridge",
        ),
        ({"model_type": ...}, "model_type is missing"),
        ({"rms_norm_eps": ...}, r"config\.json: rms_norm_eps is missing"),
        ({"hidden_size": "24"}, r"config\.json: this is no config of a 'llama' model"),
        ({"num_attention_heads": 0}, "n_heads=0|num_attention_heads=0|no config of a 'llama' model"),
        ({"tie_word_embeddings": True}, "lm_head.weight is not the embedding, and the config ties them"),
        ({"quantization_config": {"bits": 4}}, r"quantization_config=.*engine='hooks'"),
    ],
)
def test_a_config_of_another_model_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    change_config(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        loaded(folder)


def test_a_config_that_is_no_object_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is not a readable JSON file"):
        loaded(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="holds a list where an object is expected"):
        loaded(folder)


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_refused_and_not_run(
    folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match=rf"{name} and no safetensors.*save_pretrained"):
        loaded(folder)
    assert not (tmp_path / "sprung").exists()
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match="there are no weights to read"):
        loaded(folder)


def test_an_index_that_does_not_fit_its_files_is_refused(sharded: Path, tmp_path: Path) -> None:
    index = json.loads((sharded / INDEX).read_text())
    places = index["weight_map"]
    first = places["lm_head.weight"]
    for changed, message in [
        ({**places, "lm_head.weight": "model-9.safetensors"}, "lacks model-9.safetensors"),
        ({**places, "lm_head.weight": "../elsewhere.safetensors"}, "points out of its folder"),
        ({**places, "more": first}, "disagree about more"),
        ({name: file for name, file in places.items() if name != "model.norm.weight"}, "disagree about model.norm"),
        ({}, "has no weight_map"),
    ]:
        (sharded / INDEX).write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(CheckpointError, match=message):
            loaded(sharded)
    (sharded / INDEX).write_text(json.dumps(index))
    (sharded / first).write_bytes((sharded / first).read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{first} is not a whole safetensors file"):
        loaded(sharded)


def test_weights_become_the_dtype_asked_for_or_stay_as_stored(folder: Path) -> None:
    assert {value.dtype for value in loaded(folder).state_dict().values()} == {torch.float64}
    model = loaded(folder, dtype=torch.bfloat16)
    assert {value.dtype for value in [*model.state_dict().values(), *model.buffers()]} == {torch.bfloat16}
    assert model.cfg.dtype == torch.bfloat16


def test_the_tokenizer_of_the_folder_reads_for_the_model(folder: Path) -> None:
    assert loaded(folder).tokenizer is None
    word_tokenizer().save_pretrained(folder)
    model = loaded(folder)
    assert model.to_str_tokens("the cat sat") == ["<s>", "the", "cat", "sat"]
    assert model.cfg.model_name == folder.name


def test_parameters_are_what_was_read_and_not_copies_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read_hf_folder(folder)
    read: dict[int, int] = {}
    get = source.weights._read

    def remember(name: str) -> Tensor:
        tensor = get(name)
        read[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    monkeypatch.setattr(source.weights, "_read", remember)
    monkeypatch.setattr("models.pretrained.located", lambda _: source)
    model = loaded(folder)
    stored = {name: p.untyped_storage().data_ptr() for name, p in model.named_parameters() if p.any()}
    assert len(stored) == len(read) == 30
    assert set(stored.values()) == set(read)
