"""A user's own model as pytest tests, in the two lines that the module promises."""

import subprocess
import sys
from pathlib import Path

import pytest

import interp.testing
from interp.invariants import INVARIANTS, Outcome
from interp.testing import explanation, invariants_of
from tests.conftest import order_one_model, random_tokens

THEIRS = """
import torch
from models import HookedTransformer, HookedTransformerConfig

CONFIG = HookedTransformerConfig(d_model=8, d_head=4, n_layers=1, n_ctx=6, d_vocab=11, seed=0, dtype=torch.float64)
TOKENS = torch.tensor([[1, 5, 2, 7]])


def my_model():
    return HookedTransformer(CONFIG)


def my_tokens():
    return TOKENS


{lines}


def mutant():
    model = HookedTransformer(CONFIG)
    model.add_hook("blocks.0.attn.hook_pattern", lambda pattern, hook: 1.01 * pattern)
    return model, TOKENS


test_their_mutant = invariants_of(mutant)
"""


def promised_lines() -> str:
    """The two lines of the docstring."""
    lines = [line.strip() for line in (interp.testing.__doc__ or "").splitlines() if line.startswith("    ")]
    assert len(lines) == 2
    return "\n".join(lines)


def test_two_lines_give_a_test_of_each_invariant(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIRS.format(lines=promised_lines()))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-q", "--rootdir=.", "test_theirs.py"]
    command += ["-k", "test_my_model or pattern-rows or causality"]
    done = subprocess.run([*command, "-p", "no:jaxtyping"], cwd=tmp_path, capture_output=True, text=True)
    said = {}
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("PASSED", "FAILED"):
            said[rest.partition("::")[2].partition(" ")[0]] = word
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-2000:]
    mine = {name: word for name, word in said.items() if name.startswith("test_my_model[")}
    assert set(mine.values()) == {"PASSED"}
    assert len(mine) > 50
    assert "SKIPPED [1] " in done.stdout
    assert said["test_their_mutant[pattern-rows]"] == "FAILED"
    assert said["test_their_mutant[causality]"] == "PASSED"
    assert "pattern-rows: the rows of an attention pattern sum to 1\nOff by 0.01 in blocks." in done.stdout
    assert ", allowed 1e-10 (relative" in done.stdout


def test_the_tests_have_the_names_of_the_invariants() -> None:
    made = []
    test = invariants_of(lambda: made.append(1))
    (mark,) = test.pytestmark
    assert [each.id for each in mark.args[1]] == [invariant.name for invariant in INVARIANTS]
    assert made == []
    with pytest.raises(TypeError, match=r"gives \(model, tokens\), not NoneType"):
        test(INVARIANTS[0])


def test_the_model_it_came_from_is_one_more_test() -> None:
    model, tokens = order_one_model(), random_tokens()
    for off, fails in ((0.0, False), (0.1, True)):
        test = invariants_of(lambda: (model, tokens), source=lambda given, off=off: model(given) + off)
        last = test.pytestmark[0].args[1][-1]
        assert last.id == "source-logits"
        if fails:
            with pytest.raises(pytest.fail.Exception, match=r"source-logits: .*\nOff by"):
                test(*last.values)
        else:
            test(*last.values)


def test_a_failure_says_what_was_claimed_and_why_that_much_was_allowed() -> None:
    off = Outcome("rows", "rows sum to one", 0.25, 1e-10, False, reason="sums round")
    assert explanation(off) == "rows: rows sum to one\nOff by 0.25, allowed 1e-10 (sums round)"
    placed = Outcome("rows", "rows sum to one", 0.25, 1e-10, False, reason="sums round", where="blocks.3, head 2")
    assert explanation(placed) == "rows: rows sum to one\nOff by 0.25 in blocks.3, head 2, allowed 1e-10 (sums round)"
    raised = Outcome("rows", "rows sum to one", None, 1e-10, False, raised="ValueError: no rows")
    assert explanation(raised) == "rows: rows sum to one\nThe model raised ValueError: no rows"


def test_the_library_itself_does_without_pytest() -> None:
    code = "import sys, interp, interp.invariants; print('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
