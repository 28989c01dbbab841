"""`interp sweep`: the library's numbers, told in words that hold; what it refuses, keeps, and goes on with."""

import errno
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from analyses import exit_codes
from analyses.cli import cli
from analyses.commands.sweep import command
from analyses.commands.sweep_arguments import LayersArgument, Memory
from analyses.sweep_request import SweepRequest
from analyses.sweep_result import sweep_result
from interp import Effects, built_in, sweep
from interp.engine import wavefront
from interp.engine.wavefront import Wavefront
from interp.journal import Journal
from interp.tasks import Pair, Task
from models.loading import folder as model_folders

from ..conftest import order_one_model
from ..interp.induction_model import induction_model


def ran(*arguments):
    return CliRunner().invoke(cli, ["sweep", *map(str, arguments)], prog_name="interp")


@pytest.fixture(scope="module")
def inducing(tmp_path_factory):
    """The folder of a model whose head L1H0 does the task, by hand-made weights."""
    place = tmp_path_factory.mktemp("sweeps") / "inducing"
    model_folders.save(induction_model(), place)
    return place


@pytest.fixture
def of_ids(tmp_path):
    """A file of prompt pairs in token ids."""
    rows = [
        {"clean": [1, 2, 3, 1], "corrupted": [1, 4, 3, 1], "answer": 2, "wrong": 4},
        {"clean": [5, 6, 3, 5], "corrupted": [5, 2, 3, 5], "answer": 6, "wrong": 2},
        {"clean": [4, 1, 2, 4], "corrupted": [4, 3, 2, 4], "answer": 1, "wrong": 3},
    ]
    file = tmp_path / "ids.json"
    file.write_text(json.dumps(rows))
    return file


def test_the_numbers_are_those_of_the_library(inducing):
    result = ran(
        inducing, "--task", "induction", "--n", 8, "--seed", 3, "--over", "layer,head,pos", "--only", "pos=3,8",
        "--metric", "probability,logit-difference", "--direction", "noising", "--json",
    )  # fmt: skip
    assert result.exit_code == exit_codes.OK, result.output
    document = json.loads(result.stdout)
    model = induction_model()
    pairs = built_in("induction", 8, 3).on(model)
    expected = sweep(
        model, pairs.clean, pairs.corrupted, "z", ("layer", "head", "pos"), pairs.metric, direction="noising",
        only={"pos": [3, 8]},
    )  # fmt: skip
    assert list(document["effects"]) == ["probability", "logit-difference"]
    found = document["effects"]["logit-difference"]
    assert torch.allclose(torch.tensor(found["values"]).double(), expected.values)
    for name, of in (("effect_low", expected.effect.low), ("p_adjusted", expected.p_values), ("q", expected.q_values)):
        assert torch.allclose(torch.tensor(found[name]).double(), of.double()), name
    assert found["provenance"]["weights"] == expected.provenance["weights"]
    assert found["dead"] == expected.dead.tolist()
    assert document["manifest"]["options"]["only"] == {"pos": [3, 8]}
    assert document["plan"]["n_cells"] == int((~expected.dead).sum())
    table = document["result"]["tables"]["Cells that can matter, by effect on the logit-difference"]
    assert len(table) == int((~expected.dead).sum())
    assert (table[0]["layer"], table[0]["head"], table[0]["pos"]) == expected.top(1)[0]


def test_the_finding_is_what_the_hand_made_head_does(inducing):
    result = ran(inducing, "--task", "induction", "--n", 8)
    assert "1 of 2 cells is beyond chance; the largest, L1H0, changes the logit difference by" in " ".join(
        result.stdout.split()
    )
    assert "100% of the difference between the runs (p = 0.0078" in " ".join(result.stdout.split())
    assert "right beats wrong in 8 of 8 clean and in 0 of 8 corrupted prompts" in " ".join(result.stdout.split())
    assert "Run on the exact engine" in result.stdout
    assert "holds: cells of the exact engine that are run again the plain way come out the same" in result.stdout
    # The plan is told before anything is run, and not among the results.
    assert "plan: 2 cells" in result.stderr
    assert "plan" not in result.stdout
    plain = ran(inducing, "--task", "induction", "--n", 8, "--engine", "hooks")
    assert "Run with one forward pass for each cell" in plain.stdout
    assert "cells run again" not in plain.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing option '--task'. Give one of induction, ioi"),
        (
            ["--task", "inductio"],
            "'inductio', and there is no such file. Did you mean 'induction'?",
        ),
        (["--task", "nowhere.csv"], "'nowhere.csv' cannot be read: No such file"),
        (["--task", "ioi", "--site", "resid-pre"], "no point is called 'resid-pre'. Did you mean 'resid_pre'"),
        (["--task", "ioi", "--over", "layer,position"], "no axis is called 'position'. Did you mean 'pos'?"),
        (["--task", "ioi", "--over", "layer,head,head"], "'head' is named twice"),
        (["--task", "ioi", "--over", "head"], "over=head must begin with layer"),
        (
            ["--task", "ioi", "--metric", "logit_diff"],
            "called 'logit_diff'. Did you mean 'logit-difference'",
        ),
        (["--task", "ioi", "--direction", "up"], "'up' is not one of 'denoising', 'noising'"),
        (["--task", "ioi", "--intervention", "add"], "'add' is not one of 'patch', 'zero'"),
        (["--task", "ioi", "--n", "0"], "0 is not in the range x>=1"),
        (["--task", "ioi", "--layers", "0-3"], "'0-3' names no blocks; give 2, 0,3 or 0:3"),
        (["--task", "ioi", "--only", "4"], "'4' must be an axis, = and numbers, like pos=4,5"),
        (["--task", "ioi", "--only", "position=4"], "no axis is called 'position'. Did you mean 'pos'?"),
        (["--task", "ioi", "--only", "head=a"], "'a' are no indices; give head=4,5"),
        (["--task", "ioi", "--only", "head=4:4"], "'head=4:4' selects nothing"),
        (["--task", "ioi", "--only", "head=1", "--only", "head=2"], "--only names an axis twice"),
        (["--task", "ioi", "--only", "pos=1"], "only names pos, and cells are told apart by layer,head"),
        (["--task", "ioi", "--only", "layer=1"], "layers are chosen with layers"),
        (["--task", "ioi", "--blocks", "head=0"], "'0' is no number of neighbours; give head=64"),
        (["--task", "ioi", "--freeze", "patern"], "no point is called 'patern'. Did you mean 'pattern'?"),
        (["--task", "ioi", "--engine", "fast"], "'fast' is not one of 'wavefront', 'hooks'"),
        (["--task", "ioi", "--max-memory", "lots"], "'lots' is no amount of memory; give bytes, 500MB or 1.5GiB"),
        (["--task", "ioi", "--verify", "-1"], "-1 is not in the range x>=0"),
        (["--task", "ioi", "--metrc", "rank"], "No such option"),
        (["--task", "ioi", "--out", __file__], "is a file, not a folder"),
    ],
)
def test_wrong_usage_is_told_before_a_model_is_loaded(arguments, told, monkeypatch):
    monkeypatch.setattr("analyses.model_source.ModelSource.load", lambda self: pytest.fail("the model was loaded"))
    result = ran("stdlib-2l", *arguments)
    assert result.exit_code == exit_codes.USAGE
    assert told in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--layers", "0:9"], "0:9 is outside the layers"),
        (["--over", "layer,kv_head"], "has no axis 'kv_head'"),
        (["--site", "blocks.*.hook_residpre"], "matches none of the"),
        (["--site", "mlp_post"], "matches none of the"),
        (["--only", "head=2"], "must name some of 0 to 1"),
        (["--window", "3"], "window=3 must be between 1 and the 2 blocks"),
        (["--freeze", "z"], "is changed by the sweep, so it cannot be frozen as well"),
        (["--max-memory", "1KB"], "max_memory"),
    ],
)
def test_what_the_model_does_not_have_is_wrong_usage(arguments, told, inducing):
    result = ran(inducing, "--task", "induction", "--n", 4, *arguments)
    assert result.exit_code == exit_codes.USAGE
    assert told in result.stderr
    assert result.stdout == ""


def test_arguments_are_read_as_they_are_meant():
    layers, memory = LayersArgument(), Memory()
    assert [layers.convert(text, None, None) for text in ("2", "0,3", "-1", "1:", ":2", "0:3")] == [
        [2], [0, 3], [-1], slice(1, None), slice(None, 2), slice(0, 3),
    ]  # fmt: skip
    sizes = {"100": 100, "2GB": 2 * 10**9, "2G": 2 * 10**9, "500mb": 5 * 10**8, "1.5GiB": 3 * 2**29, "1 KB": 1000}
    assert {text: memory.convert(text, None, None) for text in sizes} == sizes


def test_layers_windows_and_frozen_points_reach_the_sweep(inducing):
    options = ["--task", "induction", "--n", 4, "--site", "resid_pre", "--over", "layer", "--json"]
    only_last = json.loads(ran(inducing, *options, "--layers", "-1").stdout)["effects"]["logit-difference"]
    assert only_last["coordinates"] == [[1]]
    together = json.loads(ran(inducing, *options, "--window", 2).stdout)["effects"]["logit-difference"]
    assert together["coordinates"] == [[0]]
    assert together["normalised"] == pytest.approx([1.0])
    frozen = json.loads(ran(inducing, *options, "--freeze", "z").stdout)["effects"]["logit-difference"]
    # What no head may carry does not arrive.
    assert frozen["effect"][0] == pytest.approx(0.0, abs=1e-9)
    assert abs(together["effect"][0]) > 1
    pairs = json.loads(ran(inducing, *options, "--over", "layer,pos", "--blocks", "pos=3").stdout)
    assert pairs["effects"]["logit-difference"]["coordinates"][1] == [0, 3, 6]


def test_a_plan_is_told_and_nothing_is_run(inducing, monkeypatch):
    monkeypatch.setattr(Wavefront, "part", lambda self, chunk: pytest.fail("the sweep was run"))
    result = ran(inducing, "--task", "induction", "--n", 4, "--plan")
    assert result.exit_code == exit_codes.OK, result.output
    assert result.stdout.startswith("2 cells, 8 runs of a prompt in 1 steps")
    plan = json.loads(ran(inducing, "--task", "induction", "--n", 4, "--plan", "--json").stdout)
    assert (plan["n_cells"], plan["n_lanes"]) == (2, 8)
    assert 0 < plan["flops"] < plan["plain_flops"]


def test_what_is_saved_can_be_loaded_and_read(inducing, tmp_path):
    out = tmp_path / "out"
    result = ran(
        inducing, "--task", "induction", "--n", 8, "--metric", "logit-difference,log-probability", "--out", out
    )
    assert result.exit_code == exit_codes.OK, result.output
    files = ["cells.csv", "effects.json", "effects.safetensors", "figure.html"]
    assert sorted(file.name for file in out.iterdir()) == ["log-probability", "logit-difference", "sweep.json"]
    assert sorted(file.name for file in (out / "log-probability").iterdir()) == files
    effects = Effects.load(out / "logit-difference")
    assert effects.top(1) == [(1, 0)]
    cells = pd.read_csv(out / "logit-difference" / "cells.csv")
    assert list(cells["effect"]) == pytest.approx(effects.mean.flatten().tolist())
    page = (out / "logit-difference" / "figure.html").read_text(encoding="utf-8")
    assert not re.search(r'<(script|link)[^>]*(src|href)="http', page)
    document = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    assert document["manifest"]["options"]["metrics"] == ["logit-difference", "log-probability"]
    assert f"wrote {out / 'sweep.json'}" in result.stderr


def test_four_axes_have_no_figure_and_all_else(inducing, tmp_path):
    over = ["--site", "pattern", "--over", "layer,head,query,key", "--only", "query=8", "--only", "key=3,4"]
    result = ran(inducing, "--task", "induction", "--n", 4, *over, "--out", tmp_path / "out")
    assert result.exit_code == exit_codes.OK, result.output
    files = sorted(file.name for file in (tmp_path / "out" / "logit-difference").iterdir())
    assert files == ["cells.csv", "effects.json", "effects.safetensors"]


@pytest.fixture
def waves_run(monkeypatch):
    """The waves that are run, by their first lane; each so small that a sweep has several."""
    monkeypatch.setitem(wavefront.MOST_NUMBERS, "cpu", 1000)
    run, part = [], Wavefront.part

    def counted(self, chunk):
        run.append(chunk.start)
        return part(self, chunk)

    monkeypatch.setattr(Wavefront, "part", counted)
    return run


def test_a_sweep_that_was_stopped_goes_on_to_the_same_numbers(inducing, tmp_path, waves_run, monkeypatch):
    arguments = [inducing, "--task", "induction", "--n", 8, "--verify", 0, "--json"]
    whole = json.loads(ran(*arguments).stdout)["effects"]
    n_waves, out = len(waves_run), tmp_path / "out"
    assert n_waves > 3
    keep, kept = Journal.keep, []

    def stopping(self, number, part):
        keep(self, number, part)
        kept.append(number)
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "keep", stopping)
    stopped = ran(*arguments, "--out", out)
    assert stopped.exit_code == exit_codes.INTERRUPTED
    assert f"What is done is in {out}: the same command goes on from there." in stopped.stderr
    assert stopped.stdout == ""
    assert len(list((out / "unfinished").glob("part-*"))) == 2
    other = ran(*arguments, "--out", out, "--direction", "noising")
    assert other.exit_code == exit_codes.BAD_FILE
    assert "holds another sweep (" in other.stderr
    waves_run.clear()
    resumed = ran(*arguments, "--out", out)
    assert resumed.exit_code == exit_codes.OK, resumed.output
    assert len(waves_run) == n_waves - 2
    assert json.loads(resumed.stdout)["effects"]["logit-difference"]["values"] == whole["logit-difference"]["values"]
    assert not (out / "unfinished").exists()


def test_a_sweep_that_is_stopped_and_not_kept_says_so(inducing, monkeypatch):
    def stopped(self, chunk):
        raise KeyboardInterrupt

    monkeypatch.setattr(Wavefront, "part", stopped)
    result = ran(inducing, "--task", "induction", "--n", 4)
    assert result.exit_code == exit_codes.INTERRUPTED
    assert "Nothing is kept; with --out it would be." in result.stderr


def full(*arguments, **named):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_a_part_from_which_the_sweep_goes_on(inducing, tmp_path, waves_run, monkeypatch):
    arguments, out = [inducing, "--task", "induction", "--n", 8], tmp_path / "out"
    keep = Journal.keep
    monkeypatch.setattr(Journal, "keep", lambda self, number, part: (full if number else keep)(self, number, part))
    broken = ran(*arguments, "--out", out)
    assert broken.exit_code == exit_codes.PARTIAL
    assert f"{out}: No space left on device. What was done before is kept" in broken.stderr
    assert len(list((out / "unfinished").glob("part-*"))) == 1
    monkeypatch.setattr(Journal, "keep", keep)
    monkeypatch.setattr("analyses.commands.sweep.save_sweep", full)
    unsaved = ran(*arguments, "--out", out)
    assert unsaved.exit_code == exit_codes.PARTIAL
    assert "The sweep is done, but not all of it is written" in unsaved.stderr
    # What was computed is told all the same, and kept.
    assert "L1H0" in unsaved.stdout
    assert len(list((out / "unfinished").glob("part-*"))) > 1
    monkeypatch.undo()
    assert ran(*arguments, "--out", out).exit_code == exit_codes.OK
    assert not (out / "unfinished").exists()


def test_an_error_of_the_system_without_a_folder_is_our_own(inducing, monkeypatch):
    monkeypatch.setattr(Wavefront, "part", full)
    assert ran(inducing, "--task", "induction", "--n", 4).exit_code == exit_codes.INTERNAL


def test_an_engine_that_errs_is_an_invalid_result(inducing, monkeypatch):
    part = Wavefront.part
    monkeypatch.setattr(Wavefront, "part", lambda self, chunk: part(self, chunk) + 1e-3)
    result = ran(inducing, "--task", "induction", "--n", 4)
    assert result.exit_code == exit_codes.INVALID_RESULT
    assert "run again the plain way" in result.stderr
    assert ran(inducing, "--task", "induction", "--n", 4, "--verify", 0).exit_code == exit_codes.OK


def test_prompt_pairs_of_a_file_need_no_tokenizer(inducing, of_ids, tmp_path):
    result = ran(inducing, "--task", of_ids)
    assert result.exit_code == exit_codes.OK, result.output
    assert "Prompts: ids, 3 pairs of 4 tokens." in result.stdout
    assert "With 3 pairs no p is below 0.25, so no cell can be told from chance; the largest, L1H0" in " ".join(
        result.stdout.split()
    )
    one = ran(inducing, "--task", of_ids, "--n", 1)
    assert "With one pair nothing is known of chance; the cell with the largest effect, L1H0" in " ".join(
        one.stdout.split()
    )
    more = ran(inducing, "--task", of_ids, "--n", 4)
    assert more.exit_code == exit_codes.USAGE
    assert "n=4 pairs are asked for; ids.json has 3" in more.stderr
    of_ids.write_text("[{")
    broken = ran(inducing, "--task", of_ids)
    assert broken.exit_code == exit_codes.BAD_FILE
    assert "ids.json is not JSON" in broken.stderr
    words = ran(inducing, "--task", "ioi")
    assert words.exit_code == exit_codes.USAGE
    assert "the model has no tokenizer" in words.stderr


def test_pairs_of_different_lengths_are_taken_by_the_most_common_one(inducing, of_ids):
    rows = json.loads(of_ids.read_text())
    rows.append({"clean": [1, 2, 3, 1, 2], "corrupted": [1, 4, 3, 1, 4], "answer": 3, "wrong": 5})
    of_ids.write_text(json.dumps(rows))
    assert ran(inducing, "--task", of_ids).exit_code == exit_codes.USAGE
    result = ran(inducing, "--task", of_ids, "--most-common-length")
    assert "1 of 4 pairs are left out: they have another number of tokens" in result.stdout


def swept(model, task, **options):
    """The result of a sweep in Python, as the command makes it."""
    request = SweepRequest(task, **options)
    pairs = request.pairs(model)
    effects = request.prepared(model, pairs).run(verify=1)
    return sweep_result(dict(zip(request.metric_names(pairs), effects.values(), strict=True)), pairs)


def random_task(n_pairs, templates=(), seed=0, outputs=17):
    """Pairs of random token ids of which one differs."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for at in range(n_pairs):
        clean = torch.randint(17, (5,), generator=generator).tolist()
        other = [*clean[:2], (clean[2] + 1) % 17, *clean[3:]]
        answer = int(torch.randint(outputs - 1, (1,), generator=generator))
        pairs.append(Pair(tuple(clean), tuple(other), answer, answer + 1, templates[at] if templates else ""))
    return Task("random", "no behaviour at all", tuple(pairs), "random.json")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention_dir": "bidirectional"},
        {"d_vocab_out": 5},
        {"n_key_value_heads": 2, "positional_embedding_type": "rotary"},
        {"norm_placement": "post", "n_layers": 1, "n_heads": 1},
        {"attn_only": True, "dtype": torch.float32},
    ],
    ids=str,
)
@pytest.mark.parametrize("intervention", ["patch", "zero", "mean", "resample"])
def test_the_words_hold_on_models_that_do_nothing(changes, intervention):
    for seed in range(2):
        model = order_one_model(seed=seed, **changes)
        task = random_task(8, seed=seed, outputs=changes.get("d_vocab_out", 17))
        result = swept(model, task, over=("layer", "head"), intervention=intervention)
        (table,) = result.tables.values()
        n_certain = int(table["beyond_chance"].sum())
        assert result.finding.startswith(f"{n_certain} of {len(table)} cells" if n_certain else f"None of {len(table)}")
        assert result.numbers["cells_beyond_chance"] == n_certain
        assert ("of the difference between the runs" in result.finding) == (
            intervention == "patch" and "does not tell the runs apart" not in result.verdict
        )
        assert all(identity.holds for identity in result.identities)


def test_what_cannot_matter_is_not_a_finding():
    # Positions before the one that differs hold the same in both runs.
    result = swept(order_one_model(), random_task(3), site="resid_pre", only={"pos": [0, 1]})
    assert result.finding == "No cell can have an effect on the logit difference: every value is zero by construction."
    assert "no effect is possible at these cells" in result.verdict


def test_a_model_without_a_behaviour_is_refused_with_both_values(tmp_path, of_ids):
    model = induction_model()
    model.unembed.W_U.data.zero_()
    model_folders.save(model, tmp_path / "zeroed")
    result = ran(tmp_path / "zeroed", "--task", of_ids)
    assert result.exit_code == exit_codes.INVALID_RESULT
    assert "the logit difference is 0 on the clean and 0 on the corrupted prompts" in result.stderr


def test_a_sign_flipped_model_has_the_difference_the_other_way_round(inducing, tmp_path):
    model = induction_model()
    model.unembed.W_U.data *= -1
    model_folders.save(model, tmp_path / "flipped")
    told = " ".join(ran(tmp_path / "flipped", "--task", "induction", "--n", 8).stdout.split())
    assert "L1H0, changes the logit difference by -" in told
    assert "100% of the difference between the runs" in told
    assert "right beats wrong in 0 of 8 clean and in 8 of 8 corrupted prompts" in told


def test_templates_are_what_is_counted():
    task = random_task(8, templates=["a", "b", "c", "d"] * 2)
    result = swept(order_one_model(), task)
    assert "8 pairs of 5 tokens from 4 templates" in result.verdict
    assert result.finding.startswith("With 4 templates no p is below 0.12, so no cell can be told from chance")


def test_a_position_is_named_by_its_token_where_all_pairs_have_it():
    task = Task("two", "", (Pair((1, 2, 3), (1, 4, 3), 5, 6), Pair((7, 2, 3), (7, 4, 3), 6, 8)), "two.json")
    result = swept(order_one_model(), task, site="resid_pre", over=("layer", "pos"), layers=0)
    assert "layer 0, pos 1 (2 → 4), changes" in result.finding
    varied = Task("two", "", (task.pairs[0], Pair((7, 9, 3), (7, 4, 3), 6, 8)), "two.json")
    result = swept(order_one_model(), varied, site="resid_pre", over=("layer", "pos"), layers=0)
    assert "layer 0, pos 1, changes" in result.finding
    (table,) = result.tables.values()
    assert list(table["token_of_first_pair"]) == ["2 → 4"]


def test_several_answers_are_measured_by_probability():
    task = Task("sets", "", (Pair((1, 2, 3), (1, 4, 3), (5, 6), 7), Pair((7, 2, 3), (7, 4, 3), 6, (8, 9))), "sets.json")
    result = swept(order_one_model(), task)
    assert "probability difference" in result.finding
    assert "Cells that can matter, by effect on the probability-difference" in result.tables


def test_the_guide_has_every_option_in_the_words_of_the_help():
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    general = ("source", "folder", "json_wanted", "debug")
    for option in (option for option in command.params if option.name not in general):
        default = f"`{option.default}`" if option.show_default else ""
        assert f"| `{option.opts[0]}` | {default} | {option.help} |" in page
