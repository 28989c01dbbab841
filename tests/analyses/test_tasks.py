"""`interp tasks`: what a hand-made model does is found; what it cannot be asked or does not do is said."""

import json
import math

import pytest
import torch
from click.testing import CliRunner

from analyses import exit_codes
from analyses.cli import cli
from analyses.errors import NotApplicableError
from analyses.task_runs import asked, is_done
from analyses.task_verdict import _percent
from analyses.tasks import Options, run
from interp import built_in, sweep
from interp.tasks.baseline import Baseline
from interp.tasks.prompt_pairs import PromptPairs

from ..conftest import order_one_model
from ..interp.induction_model import induction_model

TOKENS = torch.zeros(1, 3, dtype=torch.long)
INDUCTION = Options(tasks="induction", pairs=8)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_the_head_that_does_it_is_found_and_no_other(direction):
    result = run(induction_model(), TOKENS, Options(tasks="induction", pairs=8, direction=direction))
    heads = result.tables["Heads: induction"].set_index("name")
    assert heads.loc["L1H0", "share"] == pytest.approx(1.0)
    assert heads.loc["L1H0", "beyond_chance"]
    assert heads["beyond_chance"].sum() == 1
    assert heads.index[0] == "L1H0"
    assert result.numbers["induction_right"] == 1.0
    assert result.numbers["induction_strongest_head"] == "L1H0"
    assert result.finding == "It does 1 of the 1 tasks that it was asked: induction."
    assert (
        "right beats wrong after 8 of 8 clean prompts; one head has an effect beyond chance: L1H0 100%"
        in result.verdict
    )
    assert result.headline == "it does induction (strongest head L1H0)"
    assert all(identity.holds for identity in result.identities)
    assert len(result.identities) == 1


def test_the_shares_are_those_of_a_sweep():
    model = order_one_model(seed=1)
    one = asked(model, "induction", 8, 0, "noising")
    pairs = built_in("induction", 8).on(model)
    effects = sweep(model, pairs.clean, pairs.corrupted, "z", ("layer", "head"), pairs.metric, direction="noising")
    found = asked(induction_model(), "induction", 8, 0, "noising")
    assert torch.equal(one.pairs.clean, pairs.clean)
    assert one.effects is None or torch.equal(one.effects.values, effects.values)
    assert found.effects.direction == "noising"


def test_a_model_that_does_not_do_it_has_no_heads_named():
    model = order_one_model()
    model.unembed.W_U.data.mul_(1e-3)
    model.unembed.b_U.data.zero_()
    result = run(model, TOKENS, INDUCTION)
    assert not asked(model, "induction", 8, 0, "denoising").effects
    assert result.finding == "It does none of the 1 tasks that it was asked beyond chance: induction."
    assert "not done beyond chance, so no head was patched" in result.verdict
    assert list(result.tables) == ["Tasks"]
    assert not result.figures
    assert not result.identities
    assert result.headline == "it does none of 1 tasks beyond chance"


def test_what_cannot_be_asked_is_said_with_the_reason_and_the_others_are_asked():
    result = run(induction_model(), TOKENS, Options(tasks="ioi, induction", pairs=8))
    assert "ioi was not asked: " in result.verdict
    assert result.finding == "It does 1 of the 1 tasks that it was asked: induction."
    with pytest.raises(NotApplicableError, match="ioi: "):
        run(induction_model(), TOKENS, Options(tasks="ioi"))
    with pytest.raises(NotApplicableError, match="5 outputs are not the 17 tokens"):
        run(order_one_model(d_vocab_out=5), TOKENS, INDUCTION)


def test_wrong_options_are_refused():
    for wrong, said in (
        ({"pairs": 1}, "must be at least 2"),
        ({"tasks": ""}, "an empty name"),
        ({"tasks": "ioi,,induction"}, "an empty name"),
        ({"tasks": "ioi,ioi"}, "names 'ioi' twice"),
        ({"tasks": "ioi,inductoin"}, "no task is called 'inductoin'. Did you mean 'induction'"),
    ):
        with pytest.raises(ValueError, match=said):
            Options(**wrong)
    assert Options(pairs=2, tasks="ioi, induction").names == ["ioi", "induction"]
    assert len(Options(tasks="all").names) == 9


@pytest.mark.parametrize(
    ("clean", "corrupted", "done"),
    [([3.0, 4, 5, 4, 3], [-3.0, -4, -5, -3, -4], True), ([3.0, 4, 5, 4, 3], [3.1, 4.2, 4.8, 3.9, 3.1], False),
     ([-1.0, -2, -1, -2, -1], [-5.0, -6, -5, -6, -5], False), ([9.0, -8, 9, -8, 1], [-9.0, 8, -9, 8, -1], False)],
)  # fmt: skip
def test_done_is_right_beyond_chance_and_beyond_the_corrupted_run(clean, corrupted, done):
    assert is_done(Baseline("m", torch.tensor(clean).double(), torch.tensor(corrupted).double())) is done


def test_few_templates_name_no_head(monkeypatch):
    """Four templates leave no p below 1/8, whatever the effects are."""
    on = PromptPairs.__init__
    monkeypatch.setattr(
        PromptPairs, "__init__",
        lambda self, *given, **named: on(self, *given, **{**named, "clusters": tuple("abcdabcd")}),
    )  # fmt: skip
    result = run(induction_model(), TOKENS, INDUCTION)
    assert "with so few templates no p is below 0.12, so no head is named" in result.verdict
    assert "induction_strongest_head" not in result.numbers
    assert math.isclose(result.tables["Heads: induction"]["share"].max(), 1.0, rel_tol=1e-9)


def test_a_large_model_is_asked_fewer_pairs_unless_they_are_asked_for(monkeypatch):
    model = order_one_model()
    work = 2 * 4 * 20 * sum(weight.numel() for weight in model.parameters())
    assert Options().pairs_for(model) == 32
    for most_work, pairs in ((20.5 * work, 20), (5 * work, 8)):
        monkeypatch.setattr("analyses.tasks.MOST_WORK", most_work)
        assert Options().pairs_for(model) == pairs
    assert Options(pairs=5).pairs_for(model) == 5


def test_the_command_takes_no_text_and_says_whose_prompts_were_read(model_folder, monkeypatch):
    given = CliRunner().invoke(cli, ["tasks", str(model_folder), "--prompt", "one two"])
    assert given.exit_code == exit_codes.USAGE
    assert "No such option '--prompt'" in given.stderr
    result = run(induction_model(), TOKENS, INDUCTION)
    monkeypatch.setattr("analyses.tasks.run", lambda model, tokens, options: result)
    found = CliRunner().invoke(cli, ["tasks", str(model_folder), "--json"])
    assert found.exit_code == exit_codes.OK, found.output
    assert "tiny on the tasks' own prompts" in found.stderr
    manifest = json.loads(found.stdout)["manifest"]
    assert (manifest["tokens"], manifest["tokens_shape"]) == ("the tasks' own prompts", [0, 0])


def test_a_small_share_is_not_called_nothing():
    assert [_percent(share) for share in (0.4548, -0.32, 1.0, 0.0142, -0.0042, 0.00004)] == [
        "45%", "-32%", "100%", "1%", "-0.4%", "0.004%",
    ]  # fmt: skip
