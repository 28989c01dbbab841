"""`interp check`: what it runs on, what it prints and keeps, and its exit codes."""

import json

from click.testing import CliRunner

from analyses import exit_codes
from analyses.cli import cli
from analyses.commands import check as check_command
from interp.invariants import Outcome


def ran(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="interp")


def test_check_measures_every_invariant(model_folder):
    result = ran("check", model_folder, "--json")
    assert result.exit_code == exit_codes.OK, result.output
    outcomes = json.loads(result.stdout)["outcomes"]
    assert len(outcomes) > 20
    assert all(outcome["passed"] is not False for outcome in outcomes)


def test_check_cuts_the_sample_and_says_so_and_leaves_given_prompts_whole(model_folder, monkeypatch):
    monkeypatch.setattr(check_command, "outcomes", lambda model, tokens, chosen: [])
    given = ran("check", model_folder, *("--prompt", "one two") * 3, "--json")
    assert "on 3 × 3 tokens of 3 prompts" in given.stderr
    assert "cut" not in given.stderr
    assert json.loads(given.stdout)["manifest"]["tokens_shape"] == [3, 3]
    sample = ran("check", model_folder, "--json")
    assert "on 2 × 9 tokens of 7 windows of 9 tokens of the model's held-out sample, cut from 7 × 9" in sample.stderr
    assert json.loads(sample.stdout)["manifest"]["tokens_shape"] == [2, 9]


def test_an_interrupted_check_tells_and_keeps_what_it_found(model_folder, tmp_path, monkeypatch):
    def interrupted(model, tokens, chosen):
        yield Outcome("rows", "rows sum to one", 0.0, 1e-10, True, reason="rounding")
        raise KeyboardInterrupt

    monkeypatch.setattr(check_command, "outcomes", interrupted)
    result = ran("check", model_folder, "--out", tmp_path)
    assert result.exit_code == exit_codes.INTERRUPTED
    assert "1 of 1 hold" in result.stdout
    assert [one["name"] for one in json.loads((tmp_path / "check.json").read_text())["outcomes"]] == ["rows"]


def test_check_fails_when_an_invariant_does(model_folder, monkeypatch):
    found = [
        Outcome("rows", "rows sum to one", 0.25, 1e-10, False, reason="rounding"),
        Outcome("sign", "no entry is negative", 0.0, 0.0, True, reason="exact"),
        Outcome("sum", "heads sum", 1e-16, 1e-10, True, reason="rounding"),
        Outcome("cache", "a cache changes nothing", None, 0.0, None, "no cache", "exact"),
        Outcome("stop", "a stop changes nothing", None, 0.0, False, "", "exact", "ValueError: lost"),
    ]
    monkeypatch.setattr(check_command, "outcomes", lambda model, tokens, chosen: found)
    result = ran("check", model_folder)
    assert result.exit_code == exit_codes.INVALID_RESULT
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["rows", "0.25", "1e-10", "(a)", "FAIL", "rows", "sum", "to", "one"]
    assert lines[2].split()[:5] == ["sign", "0", "0", "(b)", "pass"]
    assert lines[3].split()[:5] == ["sum", "1e-16", "1e-10", "(a)", "pass"]
    assert "(raised ValueError: lost)" in lines[4]
    assert lines[5:7] == ["(a) rounding", "(b) exact"]
    assert lines[-2:] == ["cache: no cache", "2 of 5 hold, 1 skipped."]
    assert "2 of 5 invariants do not hold: rows, stop" in result.stderr
    assert json.loads(ran("check", model_folder, "--json").stdout)["outcomes"][0]["reason"] == "rounding"


def test_check_asks_only_what_it_is_asked(model_folder):
    asked = json.loads(ran("check", model_folder, "--only", "causality", "--only", "batch", "--json").stdout)
    assert [outcome["name"] for outcome in asked["outcomes"]] == ["causality", "batch"]
    wrong = ran("check", model_folder, "--only", "casuality")
    assert wrong.exit_code == exit_codes.USAGE
    assert "Did you mean 'causality'" in wrong.stderr
