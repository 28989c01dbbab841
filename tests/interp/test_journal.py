"""A sweep that is stopped goes on from its folder, to the same numbers; a folder that is not its own is refused."""

import json

import pytest
import torch

from interp import joint, prepare_sweep, sweep
from interp.engine import plan, wavefront
from interp.errors import JournalError
from interp.journal import Journal
from interp.metrics import LogitDifference, LogProbability
from models import HookedTransformer

from ..conftest import order_one_model, random_tokens

ANSWER, WRONG = torch.tensor([3, 0, 1]), torch.tensor([4, 2, 0])
CLEAN, CORRUPTED = random_tokens(3, 6, seed=1), random_tokens(3, 6, seed=2)
ENGINES = ("wavefront", "hooks")


@pytest.fixture(autouse=True)
def many_parts(monkeypatch):
    """So few rows at a time that even these small sweeps have many parts."""
    monkeypatch.setattr(wavefront, "MOST_NUMBERS", {"cpu": 240})
    monkeypatch.setattr("interp.engine.plain.CHANGES_AT_ONCE", 3)


def swept(model: HookedTransformer, folder, engine: str = "wavefront", **options):
    metrics = [LogitDifference(ANSWER, WRONG), LogProbability(ANSWER)]
    return sweep(
        model, CLEAN, CORRUPTED, "z", ("layer", "head", "pos"), metrics, direction="denoising", engine=engine,
        out=folder, **options,
    )  # fmt: skip


class Stopped(Exception):
    """What the tests stop a sweep with."""


def stop_after(monkeypatch, n_parts: int):
    """From now on a sweep is stopped before it keeps one more part than these."""
    kept = []
    keep = Journal.keep

    def stopping(self, number, part):
        if len(kept) == n_parts:
            raise Stopped
        kept.append(number)
        keep(self, number, part)

    monkeypatch.setattr("interp.journal.Journal.keep", stopping)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stopped_sweep_goes_on_to_the_very_same_numbers(tmp_path, monkeypatch, engine):
    model = order_one_model()
    whole = swept(model, tmp_path / "whole", engine)
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(Stopped):
            swept(model, tmp_path / "stopped", engine)
    kept = sorted((tmp_path / "stopped").glob("part-*"))
    assert len(kept) == 2 < len([*(tmp_path / "whole").glob("part-*")])
    # Even where the parts would be cut differently now.
    monkeypatch.setattr(wavefront, "MOST_NUMBERS", {"cpu": 600})
    monkeypatch.setattr("interp.engine.plain.CHANGES_AT_ONCE", 7)
    times = [path.stat().st_mtime_ns for path in kept]
    resumed = swept(model, tmp_path / "stopped", engine)
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert all(torch.equal(resumed[name].values, whole[name].values) for name in whole)


def test_another_sweep_is_not_continued(tmp_path):
    model = order_one_model()
    first = swept(model, tmp_path / "a")
    again = swept(model, tmp_path / "a")
    assert all(torch.equal(again[name].values, first[name].values) for name in first)
    with pytest.raises(JournalError, match=r"holds another sweep \(engine: \"wavefront\" there, \"hooks\" now\)"):
        swept(model, tmp_path / "a", "hooks")
    with pytest.raises(JournalError, match=r"holds another sweep .*weights: "):
        swept(order_one_model(seed=5), tmp_path / "a")
    with pytest.raises(JournalError, match=r"holds another sweep .*changes: "):
        swept(model, tmp_path / "a", only={"pos": [1]})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(JournalError, match=r"holds files and no sweep\.json"):
        swept(model, tmp_path / "b")


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_part_is_named_and_not_used(tmp_path, damage):
    model = order_one_model()
    swept(model, tmp_path)
    path = sorted(tmp_path.glob("part-*"))[1]
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-3] ^= 1
    path.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    with pytest.raises(JournalError, match=rf"{path.name} (is not what was written|cannot be read).*Delete it"):
        swept(model, tmp_path)
    path.unlink()
    swept(model, tmp_path)


def test_a_head_that_cannot_be_read_is_named(tmp_path):
    model = order_one_model()
    swept(model, tmp_path)
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": {}})[:-3])
    with pytest.raises(JournalError, match=r"sweep\.json cannot be read as the head of a sweep"):
        swept(model, tmp_path)


def test_a_joint_sweep_is_kept_as_well(tmp_path):
    model = order_one_model()
    sets = {
        "both": [("z", {"layer": 0, "head": 1}), ("z", {"layer": 1, "head": 2})],
        "mlp": [("mlp_out", {"layer": 0})],
    }
    metric = LogitDifference(ANSWER, WRONG)
    first = joint(model, CLEAN, CORRUPTED, sets, metric, direction="noising", out=tmp_path)
    again = joint(model, CLEAN, CORRUPTED, sets, metric, direction="noising", out=tmp_path)
    assert torch.equal(first.values, again.values)
    assert first.coordinates == (("both", "mlp"),)
    with pytest.raises(JournalError, match="changes: "):
        joint(model, CLEAN, CORRUPTED, {"mlp": sets["mlp"]}, metric, direction="noising", out=tmp_path)


def test_the_plan_counts_the_parts(tmp_path):
    ready = prepare_sweep(
        order_one_model(), CLEAN, CORRUPTED, "z", ("layer", "head", "pos"), LogitDifference(ANSWER, WRONG),
        direction="denoising",
    )  # fmt: skip
    assert isinstance(ready.plan, plan.Plan)
    ready.run(out=tmp_path)
    assert len([*tmp_path.glob("part-*")]) == ready.plan.n_chunks > 2
