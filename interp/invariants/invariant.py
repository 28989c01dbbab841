"""What an invariant is, and what came of checking one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import DiscardedEditError
from ..protocol import HookedModel


@dataclass(frozen=True)
class Tolerance:
    """How large an error may be, by the model's dtype.

    Attributes:
        reason: why it is not zero, or why it is.
        by_dtype: the largest error that still passes.
    """

    reason: str
    by_dtype: Mapping[torch.dtype, float]


DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

EXACT = Tolerance("nothing is computed that could be rounded", dict.fromkeys(DTYPES, 0.0))

ROUNDING = Tolerance(
    "relative to the largest entry; both sides add the same numbers in another order, which in float64 costs 1e-12 at "
    "most in small models with weights of order one",
    dict(zip(DTYPES, (1e-10, 1e-4, 3e-2, 2e-1), strict=True)),
)


class Bounded(NamedTuple):
    """An error with the tolerance that was measured beside it, of sampling or of quadrature, and what is to be told."""

    error: float
    tolerance: float = 0.0
    note: str = ""


class NothingToMeasureError(Exception):
    """These tokens give an identity nothing to be measured on; the text says why."""


def always(model: HookedModel) -> None:
    """No obstacle: the identity holds for every architecture."""


@dataclass(frozen=True)
class Outcome:
    """What came of one invariant on one model.

    Attributes:
        error: the largest deviation; None where it was skipped or the model raised.
        tolerance: the largest error that passes in the model's dtype.
        passed: whether the identity holds; None where it was skipped.
        skipped: why the identity says nothing about this model; empty where it was checked.
        reason: why the tolerance is what it is.
        raised: the error that the model raised while the identity was measured, which is a failure.
        note: what was found out beside the error, such as which points are dead.
        where: the block, head or position of the largest error, where the identity has it.
    """

    name: str
    statement: str
    error: float | None
    tolerance: float
    passed: bool | None
    skipped: str = ""
    reason: str = ""
    raised: str = ""
    note: str = ""
    where: str = ""

    @property
    def failed(self) -> bool:
        """Whether the identity was measured, or could not even be, and does not hold."""
        return self.passed is False


@dataclass(frozen=True)
class Invariant:
    """One identity.

    Attributes:
        name: a short name, for tables.
        statement: what holds.
        error: its largest deviation in a model, run on tokens; `Bounded` where the tolerance is measured too.
        tolerance: how large that may be, and why; a measured tolerance only ever widens it.
        obstacle: why the identity says nothing about a model, or None where it does.
    """

    name: str
    statement: str
    error: Callable[[Any, Int[Tensor, "batch pos"]], float | Bounded]
    tolerance: Tolerance = ROUNDING
    obstacle: Callable[[Any], str | None] = always

    def applies(self, model: HookedModel) -> bool:
        """Whether the identity says anything about this model."""
        return self.obstacle(model) is None

    def outcome(self, model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> Outcome:
        """The invariant measured on the model."""
        tolerance, reason = self.tolerance.by_dtype[model.cfg.dtype], self.tolerance.reason
        try:
            obstacle = self.obstacle(model)
            if obstacle is not None:
                return Outcome(self.name, self.statement, None, tolerance, None, obstacle, reason)
            measured = self.error(model, tokens)
        except (NothingToMeasureError, DiscardedEditError) as nothing:
            # A bridge that throws an edit away has said so before anybody took it for one.
            return Outcome(self.name, self.statement, None, tolerance, None, str(nothing), reason)
        except Exception as error:
            # A model that cannot be run one way is a finding about it, and the other identities still count.
            raised = f"{type(error).__name__}: {error}"
            return Outcome(self.name, self.statement, None, tolerance, False, "", reason, raised)
        found = measured if isinstance(measured, Bounded) else Bounded(measured)
        tolerance = max(tolerance, found.tolerance)
        # Written so that NaN does not pass.
        passed = found.error <= tolerance
        where = getattr(measured, "where", "") if found.error else ""
        return Outcome(
            self.name, self.statement, float(found.error), tolerance, passed, "", reason, "", found.note, where
        )
