"""A command on a damaged model of any source ends with the code of a bad file, names it, and shows no traceback."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from analyses import exit_codes
from analyses.cli import cli
from models.loading import folder as model_folders
from tests.conftest import order_one_model
from tests.models.loading.architectures import tiny
from tests.models.loading.gguf_files import random_llama, write_llama

WEIGHTS = "model.safetensors"


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


@pytest.fixture
def hf_folder(tmp_path):
    tiny("llama").save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def ran(path):
    return CliRunner().invoke(cli, ["heads", str(path), "--tokens", "1 2 3 1 2 3"], prog_name="interp")


def assert_bad_file(path, *said):
    result = ran(path)
    assert result.exit_code == exit_codes.BAD_FILE, result.output
    for words in said:
        assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def rewritten(folder, **changes):
    stored = {**load_file(folder / WEIGHTS), **changes}
    save_file({k: v for k, v in stored.items() if v is not None}, folder / WEIGHTS, metadata={"format": "pt"})


def test_a_whole_folder_is_run(hf_folder):
    assert ran(hf_folder).exit_code == exit_codes.OK


@pytest.mark.parametrize("size", [0, 7, 300, -1])
def test_safetensors_that_are_cut_off(hf_folder, size):
    path = hf_folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:size])
    assert_bad_file(hf_folder, str(path), "is not a whole safetensors file")


def test_a_number_that_is_not_finite(hf_folder):
    weight = load_file(hf_folder / WEIGHTS)["model.norm.weight"]
    weight[3] = torch.nan
    rewritten(hf_folder, **{"model.norm.weight": weight})
    assert_bad_file(hf_folder, WEIGHTS, "model.norm.weight has 1 of 24 numbers that are not finite")


def test_weights_that_are_missing_or_left_over(hf_folder):
    rewritten(hf_folder, **{"model.norm.weight": None, "score.weight": torch.ones(2)})
    assert_bad_file(hf_folder, WEIGHTS, "missing model.norm.weight", "without a place score.weight")


def test_a_config_of_another_model(hf_folder):
    path = hf_folder / "config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "hidden_size": 48}))
    assert_bad_file(hf_folder, WEIGHTS, "the config asks for")
    path.write_text(json.dumps({**fields, "rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}}))
    assert_bad_file(hf_folder, str(path), "rope_type='yarn' is not supported")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_code_is_not_run(hf_folder, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (hf_folder / WEIGHTS).unlink()
    (hf_folder / name).write_bytes(pickle.dumps(Trap()))
    assert_bad_file(hf_folder, name, "pickled files can hold code")
    assert_bad_file(hf_folder / name, name)
    assert not (tmp_path / "sprung").exists()


def test_gguf_files_that_are_cut_off_or_hold_no_numbers(tmp_path):
    path = write_llama(tmp_path / "tiny.gguf", random_llama())
    assert ran(path).exit_code == exit_codes.OK
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert_bad_file(path, str(path), "is cut off")
    path.write_bytes(whole[:-2000] + b"\xff" * 2000)
    assert_bad_file(path, str(path), "not finite")


def test_a_flipped_bit_in_a_folder_of_ours(tmp_path):
    model_folders.save(order_one_model(), tmp_path / "ours")
    assert ran(tmp_path / "ours").exit_code == exit_codes.OK
    for name in (WEIGHTS, "config.json"):
        path = tmp_path / "ours" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
        assert_bad_file(tmp_path / "ours", name)
        path.write_bytes(whole)
