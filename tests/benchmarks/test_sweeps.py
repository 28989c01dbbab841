"""The benchmark of sweeps: what its times become, and that it runs from end to end on the small model."""

import json

import pytest
import torch

from benchmarks import rounds, sweeps
from benchmarks.rounds import Lap, MatrixProducts, interleaved
from benchmarks.sweep_contestants import BRIDGE, OURS, PLAIN, WAVEFRONT
from benchmarks.sweep_measured import Counted, figures

# Ten cells, of which four can matter; two of them are sampled.
TEN, FOUR = ([{"layer": at} for at in range(n)] for n in (10, 4))
COUNT = Counted(cells=TEN, live=FOUR, operations=600, whole_forwards=6000)


def laps(**seconds):
    return [Lap(wall, cpu) for wall, cpu in zip(seconds["wall"], seconds["cpu"], strict=True)]


MEASURED = {
    BRIDGE: laps(wall=[2.0, 4.0, 6.0], cpu=[1.0, 1.0, 1.0]),
    OURS: laps(wall=[1.0, 1.0, 1.0], cpu=[3.0, 3.0, 3.0]),
    PLAIN: laps(wall=[1.0, 2.0, 3.0], cpu=[2.0, 2.0, 2.0]),
    WAVEFRONT: laps(wall=[1.0, 4.0, 5.0], cpu=[5.0, 5.0, 5.0]),
}


def test_a_sampled_contestant_costs_its_sample_times_the_cells_it_would_run():
    by_the_clock = figures(MEASURED, "wall", COUNT, n_sampled=2, rates=[1000.0, 1000.0, 300.0])
    assert by_the_clock.cell_ms == pytest.approx(
        {BRIDGE: 4.0 / 2 * 1000, OURS: 1.0 / 2 * 1000, PLAIN: 2.0 / 2 * 4 / 10 * 1000, WAVEFRONT: 4.0 / 10 * 1000}
    )
    # The median of 10, 5 and 6, and not the ratio of the medians.
    assert by_the_clock.ratios[BRIDGE] == pytest.approx(6.0 * 5 / 5.0)
    assert by_the_clock.ratios[PLAIN] == pytest.approx(3.0 * 2 / 5.0)
    # The median of 600/1000, 600/4000 and 600/1500: each round by its own rate.
    assert by_the_clock.of_floor == pytest.approx(600 / 1500)
    by_processor_time = figures(MEASURED, "cpu", COUNT, n_sampled=2, rates=[500.0] * 3)
    assert by_processor_time.ratios == pytest.approx({BRIDGE: 5 / 5, OURS: 15 / 5, PLAIN: 4 / 5})
    assert by_processor_time.of_floor == pytest.approx(600 / 500 / 5.0)


def test_every_round_runs_every_contestant_once():
    ran = []
    found = interleaved({name: lambda name=name: ran.append(name) for name in "abc"}, 4, "cpu", at_most=60)
    assert [sorted(ran[first : first + 3]) for first in range(0, 12, 3)] == [["a", "b", "c"]] * 4
    assert len({tuple(ran[first : first + 3]) for first in range(0, 12, 3)}) > 1
    assert {name: len(of) for name, of in found.items()} == {"a": 4, "b": 4, "c": 4}


def test_no_round_is_begun_after_the_time_but_one_is_always_run():
    assert len(interleaved({"a": lambda: None}, 4, "cpu", at_most=-1)["a"]) == 1


def test_the_rate_is_that_of_the_fastest_product(monkeypatch):
    monkeypatch.setattr(MatrixProducts, "HEIGHTS", (3, 5))
    monkeypatch.setattr(rounds, "timed", lambda call, device: (call(), Lap(wall=0.5, cpu=0.25))[1])
    products = MatrixProducts("cpu")
    products()
    products()
    operations = 2 * 5 * 768 * 3072
    assert products.best == {"wall": [operations / 0.5] * 2, "cpu": [operations / 0.25] * 2}


def test_it_runs_and_writes_what_it_has_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(MatrixProducts, "HEIGHTS", (8,))
    threads = torch.get_num_threads()
    words = ["--quick", "--repeats", "2", "--sample", "2", "--only", "z by head", "--threads", str(threads)]
    sweeps.main([*words, "--json", str(tmp_path / "all.json")])
    written = json.loads((tmp_path / "all.json").read_text())
    assert written["environment"]["threads"] == threads
    found = {result["differ"]: result for result in written["results"]}
    assert list(found) == ["every token", "one token"]
    for result in found.values():
        assert (result["n_cells"], result["n_sampled"], result["rounds"]) == (16, 2, 2)
        assert max(result["differences"].values()) < 1e-4 < 1e-3 < result["largest_effect"]
        assert result["dead_agree"]
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("z by head ") for line in printed) == 2 * 2


def test_a_case_that_would_take_too_long_is_left_out_by_name(capsys, monkeypatch):
    monkeypatch.setattr(MatrixProducts, "HEIGHTS", (8,))
    sweeps.main(["--quick", "--only", "resid_pre", "--longest", "0"])
    left_out = [line for line in capsys.readouterr().out.splitlines() if "left out: its floor is" in line]
    assert len(left_out) == 2
