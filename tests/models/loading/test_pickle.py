"""PyTorch's own files are read as numbers; whatever they want to execute is refused."""

import pickle
from pathlib import Path

import pytest
import torch

from models.errors import CheckpointError
from models.loading.pickle import load_state_dict_file
from tests.conftest import order_one_model, random_tokens


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_saved_state_dict_comes_back(tmp_path):
    model, other = order_one_model(seed=1), order_one_model(seed=2)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other.load_state_dict(load_state_dict_file(tmp_path / "model.pt"))
    assert torch.equal(other(random_tokens()), model(random_tokens()))


@pytest.mark.parametrize(
    "write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_code_in_a_file_is_refused_and_not_executed(tmp_path, write):
    trap = {"embed.W_E": Trap(tmp_path / "executed")}
    write(trap, tmp_path / "trap.pt")
    with pytest.raises(
        CheckpointError, match=r"trap\.pt holds more than numbers.*none of it was executed; load it where"
    ):
        load_state_dict_file(tmp_path / "trap.pt")
    assert not (tmp_path / "executed").exists()
    # The trap works: whoever unpickles it runs it.
    pickle.loads(pickle.dumps(trap))
    assert (tmp_path / "executed").exists()


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        load_state_dict_file(tmp_path / "model.pt")


@pytest.mark.parametrize("length", [0, 1, 50, 400, -1, -30])
def test_a_truncated_file_is_refused(tmp_path, length):
    path = tmp_path / "model.pt"
    torch.save(order_one_model().state_dict(), path)
    load_state_dict_file(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        load_state_dict_file(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (torch.ones(2), "a Tensor"),
        ({"epoch": 3, "model": {"embed.W_E": torch.ones(2)}}, "a dictionary with the entries 'epoch', 'model'"),
    ],
)
def test_other_contents_are_described(tmp_path, content, found):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=f"holds {found}; expected a dictionary of names and tensors"):
        load_state_dict_file(tmp_path / "model.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pt is not a file"):
        load_state_dict_file(tmp_path / "nowhere.pt")
