"""A file by itself becomes the model that its own reader gives, whatever it is called; what else it is, is said."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading.folder import load, save
from models.loading.foreign import load_llama2c, load_nanogpt, load_tl_checkpoint
from tests.conftest import order_one_model, random_tokens
from tests.models.loading import test_llama2c, test_nanogpt
from tests.models.loading.gguf_files import random_llama, write_llama
from tests.models.loading.test_tl_checkpoint import GIVEN, late, saved


def read(path, **options):
    return HookedTransformer.from_pretrained_no_processing(path, device="cpu", **options)


def assert_same(ours, expected):
    assert not ours.training
    assert ours.cfg == expected.cfg
    assert ours.state_dict().keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


@pytest.mark.parametrize("name", ["ckpt.pt", "ckpt.bin", "model"])
def test_a_checkpoint_of_nanogpt(tmp_path, name):
    path = test_nanogpt.saved(tmp_path / name, test_nanogpt.PlainGPT())
    assert_same(read(path), load_nanogpt(path, device="cpu"))
    assert_same(read(str(path), dtype=torch.float32), load_nanogpt(path, device="cpu", dtype=torch.float32))
    folded = HookedTransformer.from_pretrained(path, device="cpu")
    assert folded.cfg.normalization_type == "LNPre"
    logits = [model(test_nanogpt.TOKENS).log_softmax(-1) for model in (folded, read(path))]
    torch.testing.assert_close(*logits)


@pytest.mark.parametrize(("name", "version"), [("model.bin", 0), ("model.bin", 1), ("model", 1)])
def test_a_checkpoint_of_llama2c(tmp_path, name, version):
    path = test_llama2c.written(tmp_path / name, test_llama2c.weights(), version)
    assert_same(read(path), load_llama2c(path, device="cpu"))
    assert read(path).tokenizer is None


def test_a_width_of_llama2c_that_looks_like_a_pickle(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x80\x02\0\0" + bytes(50))
    with pytest.raises(
        CheckpointError, match=r"model\.bin is no file of llama2\.c's: its header would say {'dim': 640"
    ):
        read(path)


def test_the_stories_of_llama2c(shared):
    folder = shared / "data" / "stories260k"
    ours, theirs = (read(folder / name) for name in ("stories260K.bin", "hf"))
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize("key", ["cfg", "config"])
def test_a_checkpoint_of_transformer_lens_with_its_config(tmp_path, key):
    model = order_one_model()
    path = saved(tmp_path / "model.pt", {"model": late(model), key: {**model.cfg.to_dict(), "dtype": None}})
    assert_same(read(path), load_tl_checkpoint(path, device="cpu"))
    assert torch.equal(read(path)(random_tokens()), model(random_tokens()))
    assert read(path, dtype=torch.float32).W_E.dtype == torch.float32


def test_weights_of_transformer_lens_alone_are_told_the_way(tmp_path):
    model = order_one_model()
    path = saved(tmp_path / "model.pth", late(model))
    with pytest.raises(CheckpointError) as refused:
        read(path)
    with pytest.raises(CheckpointError) as by_name:
        load_tl_checkpoint(path)
    assert str(refused.value) == str(by_name.value)
    assert "load_tl_checkpoint(path, config={" in str(refused.value)
    # The way it names.
    save(load_tl_checkpoint(path, GIVEN, device="cpu"), tmp_path / "folder")
    assert torch.equal(load(tmp_path / "folder", "cpu")(random_tokens()), model(random_tokens()))


def test_a_file_of_gguf_by_another_name(tmp_path):
    path = write_llama(tmp_path / "tiny.gguf", random_llama())
    expected = read(path)
    assert_same(read(path.rename(tmp_path / "tiny")), expected)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"transformer.wte.weight": torch.ones(2)}, r"a dictionary with the entries 'transformer\.wte\.weight', by"),
        ({"x" * 900: 1}, r"a dictionary with the entries 'x{59}\.\.\., by"),
        (
            {str(number): 0 for number in range(9)},
            "a dictionary with the entries '0', '1', '2', '3', '4' and 4 more, by",
        ),
        ({}, "an empty dictionary, by"),
        ([1, 2], "a list, by"),
    ],
)
def test_a_file_of_pytorch_that_is_not_recognised_says_what_is_in_it(tmp_path, content, found):
    with pytest.raises(CheckpointError, match=rf"model\.pt holds {found} which no model is known\. Read by themselves"):
        read(saved(tmp_path / "model.pt", content))


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "model.bin", "model"])
def test_pickled_code_is_refused_as_such(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps({"a": test_nanogpt.norm(2, True)}))
    with pytest.raises(CheckpointError, match=f"{name} holds more than numbers.*none of it was executed"):
        read(tmp_path / name)


def test_a_file_of_another_kind_is_refused_with_its_beginning(tmp_path):
    (tmp_path / "notes.txt").write_text("weights")
    with pytest.raises(CheckpointError, match=r"notes\.txt is a file that begins with b'weig', by which no model"):
        read(tmp_path / "notes.txt")
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"read as a folder: config\.json and \*\.safetensors"):
        read(tmp_path / "model.safetensors")
