"""Devices that are not there are named before anything is put on them."""

import re

import pytest
import torch

from models import HookedTransformer, HookedTransformerConfig
from models.errors import CheckpointError, ConfigError
from models.present_device import require_present


def config(device: str) -> HookedTransformerConfig:
    return HookedTransformerConfig(
        n_layers=1, d_model=6, n_ctx=4, d_head=3, d_vocab=5, act_fn="relu", device=device, seed=0
    )


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "cuda:3"])
def test_a_gpu_that_is_not_there_is_named(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for make in (
        lambda: HookedTransformer(config(wanted)),
        lambda: HookedTransformer.from_pretrained("stdlib-2l", device=wanted),
        lambda: HookedTransformer.from_pretrained_no_processing("stdlib-2l", device=wanted),
    ):
        with pytest.raises(ConfigError, match=f"device='{wanted}' is not there: .* finds 0 CUDA devices.*device='cpu'"):
            make()
    assert HookedTransformer(config("cpu")).W_U.device.type == "cpu"
    assert HookedTransformer(config("meta")).W_U.is_meta


@pytest.mark.parametrize(("wanted", "found", "there"), [("cuda", 1, True), ("cuda:1", 2, True), ("cuda:1", 1, False)])
def test_the_number_of_a_gpu_counts(wanted: str, found: int, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    if there:
        require_present(wanted)
    else:
        with pytest.raises(ConfigError, match="finds 1 CUDA devices"):
            require_present(wanted)


def test_metal_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    require_present("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="finds no Metal device"):
        require_present("mps")


@pytest.mark.parametrize("wanted", ["gpuu", ""])
def test_a_device_that_is_none_is_told_before_anything_is_read(wanted: str) -> None:
    for load in (HookedTransformer.from_pretrained, HookedTransformer.from_pretrained_no_processing):
        with pytest.raises(ConfigError, match=re.escape(f"device={wanted!r} is none: cpu, cuda, cuda:1 and mps")):
            load("no/such/model", device=wanted)
        assert load("stdlib-1h", device=torch.device("cpu")).W_U.device.type == "cpu"
    with pytest.raises(ConfigError, match="is none"):
        require_present(wanted)


def test_an_empty_name_is_no_folder() -> None:
    with pytest.raises(CheckpointError, match="'' is neither a bundled model nor a folder"):
        HookedTransformer.from_pretrained("")
