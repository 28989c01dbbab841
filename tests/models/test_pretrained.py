"""A name or a folder becomes a model, with its weights as they were saved or rewritten."""

import pytest
import torch
from torch.testing import assert_close

from models import HookedTransformer
from models.errors import CheckpointError, ProcessingError
from models.loading import bundled_names, resolve
from models.loading.folder import save
from tests.conftest import order_one_model, random_tokens


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A zoo of two models and a folder that is none."""
    monkeypatch.setattr(resolve, "ZOO", tmp_path)
    save(order_one_model(seed=1), tmp_path / "small-2l")
    save(order_one_model(seed=2, normalization_type="RMS"), tmp_path / "rms-2l")
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_a_bundled_name_and_its_folder_give_the_same_model(zoo):
    assert bundled_names() == ["rms-2l", "small-2l"]
    for name in ("small-2l", zoo / "small-2l", str(zoo / "small-2l")):
        model = HookedTransformer.from_pretrained_no_processing(name, device="cpu")
        assert torch.equal(model(random_tokens()), order_one_model(seed=1)(random_tokens()))


def test_an_unknown_name_is_told_the_nearest_and_all(zoo):
    with pytest.raises(
        CheckpointError,
        match=r"'smal-2l' is neither .* Did you mean 'small-2l'\? Bundled models: rms-2l, small-2l\.",
    ):
        HookedTransformer.from_pretrained("smal-2l")
    with pytest.raises(CheckpointError, match=r"exists\. Bundled models: rms-2l, small-2l\."):
        HookedTransformer.from_pretrained("no/such/model")
    with pytest.raises(CheckpointError, match=r"notes holds no config\.json"):
        HookedTransformer.from_pretrained(zoo / "notes")
    (zoo / "notes" / "ckpt.pt").touch()
    with pytest.raises(CheckpointError, match=r"ckpt\.pt is not a file that torch\.save wrote"):
        HookedTransformer.from_pretrained(zoo / "notes" / "ckpt.pt")


@pytest.mark.parametrize(("name", "norm"), [("small-2l", "LNPre"), ("rms-2l", "RMSPre")])
def test_weights_are_rewritten_by_default_as_transformer_lens_does(zoo, name, norm):
    raw = HookedTransformer.from_pretrained_no_processing(name, device="cpu")
    model = HookedTransformer.from_pretrained(name, device="cpu")
    assert model.cfg.normalization_type == norm
    assert not model.b_V.any()
    assert_close(model.W_U.mean(-1), torch.zeros(12, dtype=torch.float64))
    assert_close(model(random_tokens()).log_softmax(-1), raw(random_tokens()).log_softmax(-1))
    plain = HookedTransformer.from_pretrained(
        name, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False, device="cpu"
    )
    assert all(torch.equal(value, raw.state_dict()[key]) for key, value in plain.state_dict().items())
    assert plain.cfg == raw.cfg


def test_an_impossible_rewriting_is_refused_only_when_asked_for(zoo):
    HookedTransformer.from_pretrained("rms-2l", center_writing_weights=None)
    with pytest.raises(ProcessingError, match="normalization_type is 'RMS'"):
        HookedTransformer.from_pretrained("rms-2l", center_writing_weights=True)


def test_weights_are_rewritten_in_the_dtype_asked_for(zoo):
    model = HookedTransformer.from_pretrained("small-2l", device="cpu", dtype=torch.float32)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_the_bundled_models_load():
    for name in bundled_names():
        model = HookedTransformer.from_pretrained(name, device="cpu")
        text = model.to_string(torch.tensor([0, 1, 2]))
        assert model.to_string(model.to_tokens(text, prepend_bos=False)) == [text]
