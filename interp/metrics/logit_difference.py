"""How far the logit of the right token is above that of a wrong one."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import ShapeError
from .metric import Ids, Lanes, Metric, Read, Value, of_prompts


@dataclass(frozen=True, eq=False)
class LogitDifference(Metric):
    """logit(answer) - logit(wrong) at one position, in nats: the log of how many times likelier the answer is.

    Attributes:
        answer: each prompt's right token.
        wrong: the token it is set against.
        position: where the prediction is read; the last by default.
    """

    answer: Ids
    wrong: Ids
    position: int = -1

    def __post_init__(self) -> None:
        require_partners(self.answer, self.wrong)

    @property
    def name(self) -> str:
        """What is measured, with its unit."""
        return "logit difference"

    @property
    def positions(self) -> tuple[int, ...]:
        """One position."""
        return (self.position,)

    @property
    def columns(self) -> Int[Tensor, "batch 2"]:
        """The answer's and the wrong token's."""
        return torch.stack([self.answer, self.wrong], dim=1)

    def of(self, read: Read) -> Value:
        """The first column less the second."""
        return read[:, 0, 0] - read[:, 0, 1]

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same with these prompts' tokens."""
        return replace(self, answer=of_prompts(self.answer, prompts), wrong=of_prompts(self.wrong, prompts))


def require_partners(answer: Int[Tensor, " prompt"], wrong: Int[Tensor, " other"]) -> None:
    """Nothing, if each answer has one wrong token to be set against.

    Raises:
        ShapeError: there are more of one than of the other.
    """
    if answer.shape != wrong.shape:
        raise ShapeError(f"{len(answer)} answers and {len(wrong)} wrong ones; each prompt has one of each")
