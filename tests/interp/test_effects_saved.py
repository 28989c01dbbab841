"""Effects on disk: what is read back is what was written, or nothing."""

import json
import os
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from interp.effects import Effects, Verification
from interp.errors import EffectsFileError
from interp.whole_files import write_whole

from .made_effects import HEADS, POSITIONS, made

JSON, TENSORS = "effects.json", "effects.safetensors"


def full() -> Effects:
    """Effects with every field filled, one prompt's value denormal and one the largest there is."""
    values = made().values.clone()
    values[0, 1, 1, 1], values[1, 1, 1, 1] = 5e-324, torch.finfo(torch.float64).max
    return made(
        values=values,
        notes=("a cell cannot matter", "two\nlines"),
        engine="wavefront",
        verification=Verification(12, 0.1 + 0.2, 1e-10),
        noise_floor=torch.linspace(0, 1e-15, 8, dtype=torch.float64),
        tokens_clean=(("é", "\ud800", "\u2028", '"', " w4", " w5", " w6", " w7"),) * 8,
        clusters=tuple("aabbccdd"),
        provenance={"weights": "0f", "seed": 3, "arguments": {"over": ["layer", "head"], "only": None, "rate": 1 / 3}},
    )


def assert_same(one: Effects, other: Effects) -> None:
    for field in fields(Effects):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, Tensor):
            assert left.dtype == right.dtype
            assert torch.equal(left, right), field.name
        else:
            assert (type(left), left) == (type(right), right), field.name


@pytest.mark.parametrize(
    "effects",
    [
        full(),
        made(),
        made().sel(layer=4, pos=slice(5, 7)),
        made().sel(layer=4, head=2, pos=5),
        made(values=made().values.float(), axes=("set", "head", "pos"), coordinates=(("a", "b"), HEADS, POSITIONS)),
    ],
    ids=["full", "plain", "selected", "one cell", "named"],
)
def test_what_was_saved_is_loaded_exactly(effects, tmp_path):
    effects.save(tmp_path / "new" / "folder")
    loaded = Effects.load(str(tmp_path / "new" / "folder"))
    assert_same(effects, loaded)
    assert repr(loaded) == repr(effects)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("effects")
    full().save(folder)
    return folder


@given(data=st.data(), name=st.sampled_from([JSON, TENSORS]))
def test_a_flipped_bit_is_found(saved, data, name):
    content = bytearray((saved / name).read_bytes())
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    whole = bytes(content)
    content[at] ^= 1 << bit
    try:
        (saved / name).write_bytes(content)
        # White space between values is the only thing in either file that says nothing.
        try:
            same = name == JSON and json.loads(bytes(content)) == json.loads(whole)
        except ValueError:
            same = False
        if not same:
            with pytest.raises(EffectsFileError, match=name):
                Effects.load(saved)
    finally:
        (saved / name).write_bytes(whole)
    Effects.load(saved)


def test_a_folder_that_is_not_whole_is_refused(tmp_path):
    with pytest.raises(EffectsFileError, match="nowhere is not a folder"):
        Effects.load(tmp_path / "nowhere")
    with pytest.raises(EffectsFileError, match="holds no effects"):
        Effects.load(tmp_path)
    made().save(tmp_path)
    whole = {name: (tmp_path / name).read_bytes() for name in (JSON, TENSORS)}
    for name, said in ((JSON, "is not JSON"), (TENSORS, "it is truncated or was changed")):
        for length in (0, len(whole[name]) // 2):
            (tmp_path / name).write_bytes(whole[name][:length])
            with pytest.raises(EffectsFileError, match=f"{name} .*{said}"):
                Effects.load(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(EffectsFileError, match=f"holds no {JSON}" if name == JSON else f"{name} is missing"):
            Effects.load(tmp_path)
        (tmp_path / name).write_bytes(whole[name])
        assert_same(Effects.load(tmp_path), made())


def test_files_of_something_else_are_refused(tmp_path):
    made().save(tmp_path)
    manifest = json.loads((tmp_path / JSON).read_text())
    for changed, said in (
        ({"format": "interp.HookedTransformer"}, "is of format 'interp.HookedTransformer'; expected 'interp.Effects'"),
        ({"format_version": 2}, "has format version 2; this package reads version 1"),
        ({"shapes": {}}, "does not have its own SHA-256"),
    ):
        (tmp_path / JSON).write_text(json.dumps(manifest | changed))
        with pytest.raises(EffectsFileError, match=said):
            Effects.load(tmp_path)
    (tmp_path / JSON).write_text("[1]")
    with pytest.raises(EffectsFileError, match="is of format 'list'"):
        Effects.load(tmp_path)
    (tmp_path / JSON).write_text(json.dumps(manifest))
    Effects.load(tmp_path)


def test_a_save_that_is_stopped_never_leaves_a_mixture(tmp_path, monkeypatch):
    before, after = made(), made(values=made().values + 1)
    replaced = os.replace
    for last in range(2):
        before.save(tmp_path)
        others = {path.name for path in tmp_path.iterdir()}
        moved = []

        def stop(source, target, last=last, moved=moved):
            if len(moved) == last:
                raise KeyboardInterrupt
            moved.append(target)
            replaced(source, target)

        monkeypatch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            after.save(tmp_path)
        monkeypatch.undo()
        # Nothing is left lying about.
        assert {path.name for path in tmp_path.iterdir()} == others
        if last == 0:
            assert_same(Effects.load(tmp_path), before)
        else:
            with pytest.raises(EffectsFileError, match="truncated or was changed"):
                Effects.load(tmp_path)
    after.save(tmp_path)
    assert_same(Effects.load(tmp_path), after)


def test_other_files_stay_and_a_name_taken_by_a_folder_is_no_loss(tmp_path):
    (tmp_path / "sweep.json").write_text("mine")
    made().save(tmp_path)
    assert (tmp_path / "sweep.json").read_text() == "mine"
    target = tmp_path / "there"
    target.mkdir()
    with pytest.raises(OSError, match="there"):
        write_whole(target, b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == [JSON, TENSORS, "sweep.json", "there"]


def test_provenance_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    for value, said in ((object(), "not JSON serializable"), (float("nan"), "not JSON compliant")):
        with pytest.raises(EffectsFileError, match=said):
            made(provenance={"seed": value}).save(tmp_path / "new")
        assert not (tmp_path / "new").exists()
    made(provenance={"seed": 1}).save(tmp_path / "new")
