"""PyTorch's own files are read as numbers; whatever they want to execute is refused."""

import pickle
import random
import sys
from pathlib import Path
from types import ModuleType

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


def refusal(path):
    with pytest.raises(CheckpointError) as refused:
        load_state_dict_file(path)
    return str(refused.value)


def assert_in_our_words(message):
    assert "weights_only" not in message
    assert "likely succeed" not in message
    assert "add_safe_globals" not in message
    assert message.isprintable()


@pytest.mark.parametrize("in_zip", [True, False])
def test_a_whole_pickled_model_is_refused_by_its_class(tmp_path, in_zip):
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 3), path, _use_new_zipfile_serialization=in_zip)
    message = refusal(path)
    assert "asks for the class or function 'torch.nn.modules.linear.Linear', and none of it was executed" in message
    assert "torch.save(model.state_dict(), path)" in message
    assert_in_our_words(message)
    torch.save(torch.nn.Linear(2, 3).state_dict(), path, _use_new_zipfile_serialization=in_zip)
    assert load_state_dict_file(path).keys() == {"weight", "bias"}


def test_the_name_of_a_class_cannot_speak_to_the_terminal(tmp_path, monkeypatch):
    name = "clear\x1b[2J" + "x" * 500
    module = ModuleType("elsewhere")
    found = type(name, (), {"__module__": "elsewhere", "__reduce__": lambda self: name})
    setattr(module, name, found())
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"a": getattr(module, name)}, protocol=2))
    message = refusal(tmp_path / "model.pt")
    assert r"'elsewhere.clear\x1b[2Jxxx" in message
    assert len(message) < 600
    assert_in_our_words(message)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive_is_refused_as_one(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 3)).save(tmp_path / "model.pt")
    message = refusal(tmp_path / "model.pt")
    assert "model.pt is a TorchScript archive" in message
    assert "torch.save(model.state_dict(), path)" in message
    assert_in_our_words(message)


@pytest.mark.parametrize("content", [b"weights", b"\x80\x04", pickle.dumps({"a": Trap(Path("x"))}), bytes(50)])
def test_what_is_no_file_of_pytorch_is_refused_in_our_words(tmp_path, content, recwarn):
    (tmp_path / "model.pt").write_bytes(content)
    assert_in_our_words(refusal(tmp_path / "model.pt"))
    assert not recwarn.list


def flipped(whole, at, bit):
    return whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]


def small_state_dict():
    generator = torch.Generator().manual_seed(0)
    return {f"weight_{number}": torch.randn(5, 7, generator=generator) for number in range(4)}


def test_a_flipped_bit_of_a_weight_is_seen_and_named(tmp_path):
    path, state = tmp_path / "model.pt", small_state_dict()
    torch.save(state, path)
    whole, drawn = path.read_bytes(), random.Random(0)
    for number, value in enumerate(state.values()):
        stored = value.numpy().tobytes()
        start = whole.index(stored)
        for _ in range(10):
            path.write_bytes(flipped(whole, start + drawn.randrange(len(stored)), drawn.randrange(8)))
            torch.load(path, weights_only=True)  # PyTorch sees nothing
            with pytest.raises(
                CheckpointError, match=rf"model\.pt is damaged: its member 'model/data/{number}' is not"
            ):
                load_state_dict_file(path)
    path.write_bytes(whole)
    assert all(torch.equal(value, state[name]) for name, value in load_state_dict_file(path).items())


def test_no_flipped_bit_anywhere_changes_the_weights(tmp_path):
    path, state = tmp_path / "model.pt", small_state_dict()
    torch.save(state, path)
    whole, outcomes = path.read_bytes(), set()
    for at in range(0, len(whole), 17):
        path.write_bytes(flipped(whole, at, at % 8))
        try:
            found = load_state_dict_file(path)
        except CheckpointError as error:
            assert_in_our_words(str(error).removeprefix(str(path)))
            outcomes.add("refused")
            continue
        assert found.keys() == state.keys()
        assert all(torch.equal(value, state[name]) for name, value in found.items()), at
        outcomes.add("the same")
    # Between the members lie bytes that mean nothing.
    assert outcomes == {"refused", "the same"}


def test_files_without_checksums_are_read(tmp_path):
    state = small_state_dict()
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    computed = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "unsummed.pt")
    finally:
        torch.serialization.set_crc32_options(computed)
    for name in ("old", "unsummed"):
        found = load_state_dict_file(tmp_path / f"{name}.pt")
        assert all(torch.equal(value, state[key]) for key, value in found.items())


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
