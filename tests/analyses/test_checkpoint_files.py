"""Commands take the file that a training program wrote, or say what it lacks."""

import json

import pytest
import torch
from click.testing import CliRunner

from analyses import exit_codes
from analyses.cli import cli
from models.loading.folder import save
from models.loading.foreign import load_llama2c, load_nanogpt, load_tl_checkpoint
from tests.conftest import order_one_model
from tests.models.loading import test_llama2c, test_nanogpt
from tests.models.loading.test_tl_checkpoint import GIVEN, late, saved

TOKENS = ("--tokens", "1 2 3 1 2 3")


def ran(path, *options):
    return CliRunner().invoke(cli, ["heads", str(path), *TOKENS, *options], prog_name="interp")


def scores(path):
    result = ran(path, "--json")
    assert result.exit_code == exit_codes.OK, result.output
    return [row["score"] for row in json.loads(result.stdout)["result"]["tables"]["Heads"]]


@pytest.mark.parametrize("kind", ["nanogpt", "llama2c", "transformer_lens"])
def test_a_file_gives_the_numbers_of_the_folder_that_it_is_saved_to(tmp_path, kind):
    if kind == "nanogpt":
        path = test_nanogpt.saved(tmp_path / "ckpt.pt", test_nanogpt.PlainGPT())
        model = load_nanogpt(path, device="cpu")
    elif kind == "llama2c":
        path = test_llama2c.written(tmp_path / "model.bin", test_llama2c.weights())
        model = load_llama2c(path, device="cpu")
    else:
        path = saved(tmp_path / "model.pt", {"model": late(order_one_model()), "cfg": GIVEN})
        model = load_tl_checkpoint(path, device="cpu")
    save(model, tmp_path / "folder")
    found = scores(path)
    assert len(set(found)) > 10
    assert found == pytest.approx(scores(tmp_path / "folder"), abs=1e-5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (order_one_model().state_dict(), "the weights do not say 5 fields of the config"),
        ({"epoch": 3}, "holds a dictionary with the entries 'epoch', by which no model is known"),
        ({"model": torch.nn.Linear(2, 3)}, "asks for the class or function 'torch.nn.modules.linear.Linear'"),
    ],
)
def test_a_file_that_lacks_something_is_told_as_a_bad_file(tmp_path, content, said):
    result = ran(saved(tmp_path / "model.pt", content))
    assert result.exit_code == exit_codes.BAD_FILE
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
