"""Any function of the logits as a metric."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from .metric import Metric, Read


@dataclass(frozen=True, eq=False)
class Function(Metric):
    """Any function of the logits. It may look at all prompts at once, and so is never asked of some of them.

    Attributes:
        label: what it measures, with its unit.
        function: logits at `at` to one number per prompt.
        at: the positions it is given; None for all.
    """

    label: str
    function: Callable[[Float[Tensor, "batch read d_vocab"]], Any]
    at: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """What is measured, with its unit."""
        return self.label

    @property
    def positions(self) -> tuple[int, ...] | None:
        """As given."""
        return self.at

    def of(self, read: Read) -> Any:
        """What the function says; the call checks it."""
        return self.function(read)
