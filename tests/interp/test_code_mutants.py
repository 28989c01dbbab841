"""Realistic bugs of a forward pass are caught by the identities that they break."""

import pytest

from interp.invariants import INVARIANTS, check
from tests.conftest import order_one_model, random_tokens
from tests.interp.code_mutants import INVISIBLE, MUTANTS, ROTARY_MUTANTS, Patch, caught
from tests.interp.mutations import ROTARY

TOKENS = random_tokens(batch=2, length=6)
BY_NAME = {invariant.name: invariant for invariant in INVARIANTS}
CASES = [pytest.param({}, *case, id=name) for name, case in MUTANTS.items()]
CASES += [pytest.param(ROTARY, *case, id=name) for name, case in ROTARY_MUTANTS.items()]


@pytest.mark.parametrize(("changes", "apply", "expected"), CASES)
def test_a_bug_of_the_forward_pass_is_caught(changes: dict[str, object], apply: Patch, expected: set[str]) -> None:
    model = order_one_model(**changes)
    asked = [BY_NAME[name] for name in sorted(expected)]
    assert [outcome.name for outcome in check(model, TOKENS, asked) if not outcome.passed] == []
    with pytest.MonkeyPatch.context() as patch:
        apply(patch)
        assert [outcome.name for outcome in check(model, TOKENS, asked) if not outcome.failed] == []


@pytest.mark.parametrize("apply", INVISIBLE.values(), ids=INVISIBLE)
def test_what_changes_nothing_is_not_reported(apply: Patch, as_users_run_it: None) -> None:
    assert caught(order_one_model(**ROTARY), TOKENS, apply) == []
