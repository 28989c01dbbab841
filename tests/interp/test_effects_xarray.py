"""Effects as an xarray data set, where xarray is installed."""

import sys

import pytest

from .made_effects import made


def test_without_xarray_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    monkeypatch.delitem(sys.modules, "interp.effects.labelled", raising=False)
    with pytest.raises(ImportError, match="to_xarray needs xarray: pip install xarray"):
        made().to_xarray()


def test_the_data_set_is_labelled_as_the_effects_are():
    pytest.importorskip("xarray", reason="xarray is not installed")
    effects = made(notes=("a note",))
    data = effects.to_xarray()
    assert dict(data.sizes) == {"prompt": 8, "layer": 2, "head": 3, "pos": 4}
    for prompt in (0, 5):
        for cell in effects.cells:
            at = dict(zip(effects.axes, cell, strict=True))
            assert float(data["values"].sel(at)[prompt]) == float(effects.sel(**at).values[prompt])
    assert float(data["effect"].sel(layer=4, head=5, pos=6)) == pytest.approx(2.0)
    assert bool(data["significant"].sel(layer=4, head=5, pos=6))
    assert data["dead"].sel(layer=3, head=0).values.tolist() == [True] * 4
    assert data["clean"].values.tolist() == effects.clean.tolist()
    assert data.attrs["metric"] == "logit difference"
    fixed = effects.sel(layer=3).to_xarray()
    assert (int(fixed.layer), fixed["effect"].dims) == (3, ("head", "pos"))
