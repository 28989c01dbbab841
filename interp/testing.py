"""The invariants as pytest tests of a model of your own, in two lines:

    from interp.testing import invariants_of
    test_my_model = invariants_of(lambda: (my_model().double(), my_tokens()))

Each identity becomes one test, `test_my_model[causality]`, which is skipped with the reason where it says nothing about
the model. The model is made once, when the first test runs. In float64 the tolerances are tight; in float32 some
identities are skipped, in 16 bits more.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from jaxtyping import Int
from torch import Tensor

from .invariants import INVARIANTS, Invariant, Outcome, check
from .invariants.source import Logits, same_logits


def invariants_of(
    make: Callable[[], tuple[Any, Int[Tensor, "batch pos"]]], source: Logits | None = None
) -> Callable[[Invariant], None]:
    """A pytest test of each invariant; assign it to a name that begins with `test_`.

    Args:
        make: the model and tokens to run it on: [batch, pos] with three positions or more. A few short prompts do.
        source: the logits of the model that the weights came from; with it, `source-logits` is one of the tests.

    Raises:
        TypeError: when a test runs, if `make` gives something else than a model and tokens.
    """
    made = cache(make)
    every = [*INVARIANTS, *([same_logits(source, "the model it came from")] if source else [])]

    @pytest.mark.parametrize("invariant", [pytest.param(each, id=each.name) for each in every])
    def holds(invariant: Invariant) -> None:
        given = made()
        if not (isinstance(given, tuple) and len(given) == 2):
            raise TypeError(f"invariants_of needs a function that gives (model, tokens), not {type(given).__name__}")
        (outcome,) = check(*given, [invariant])
        if outcome.skipped:
            pytest.skip(outcome.skipped)
        if outcome.failed:
            pytest.fail(explanation(outcome), pytrace=False)

    return holds


def explanation(outcome: Outcome) -> str:
    """What a failed identity claims, how far it is off, and what was allowed for which reason."""
    if outcome.raised:
        return f"{outcome.name}: {outcome.statement}\nThe model raised {outcome.raised}"
    where = f" in {outcome.where}" if outcome.where else ""
    return (
        f"{outcome.name}: {outcome.statement}\nOff by {outcome.error:.3g}{where}, allowed {outcome.tolerance:.3g} "
        f"({outcome.reason})"
    )
