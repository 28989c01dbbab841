"""Where the answer stands among the tokens: its rank, and whether it is the model's choice."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .logit_difference import require_partners
from .metric import Ids, Lanes, Metric, Read, Value, of_prompts, target_logits


@dataclass(frozen=True, eq=False)
class Rank(Metric):
    """How many tokens are likelier than the answer at one position: 0 is the top, d_vocab - 1 the bottom.

    A tied token counts as half, so that a model that finds all tokens alike puts the answer in the middle and not on
    top. A rank is a whole number otherwise: changes that overtake nobody do not show, and where two logits differ by
    rounding alone, two exact ways of computing them may rank them differently.

    Attributes:
        answer: each prompt's token.
        position: where the prediction is read; the last by default.
    """

    answer: Ids
    position: int = -1

    @property
    def name(self) -> str:
        """What is measured, with its unit."""
        return "rank of the answer, 0 is the top"

    @property
    def positions(self) -> tuple[int, ...]:
        """One position."""
        return (self.position,)

    def of(self, read: Read) -> Value:
        """The tokens above it, and half of those beside it."""
        own = target_logits(read, self.answer[:, None])
        above, beside = (read[:, 0] > own).sum(dim=1), (read[:, 0] == own).sum(dim=1) - 1
        return _unless_nan(read, above + beside / 2)

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same with these prompts' tokens."""
        return replace(self, answer=of_prompts(self.answer, prompts))


@dataclass(frozen=True, eq=False)
class Accuracy(Metric):
    """1 where the answer is likelier than every other token at one position, or than one wrong token; else 0.

    A tie is a miss. It says whether, and not by how much: a cell that halves the logit difference may leave it as it
    was, and where two logits differ by rounding alone, two exact ways of computing them may disagree.

    Attributes:
        answer: each prompt's token.
        wrong: the token that it has to beat; by default all others.
        position: where the prediction is read; the last by default.
    """

    answer: Ids
    wrong: Ids | None = None
    position: int = -1

    def __post_init__(self) -> None:
        if self.wrong is not None:
            require_partners(self.answer, self.wrong)

    @property
    def name(self) -> str:
        """What is measured."""
        return "accuracy" if self.wrong is None else "accuracy against the wrong token"

    @property
    def positions(self) -> tuple[int, ...]:
        """One position."""
        return (self.position,)

    @property
    def columns(self) -> Int[Tensor, "batch 2"] | None:
        """The answer's and the wrong token's, where there is one."""
        return None if self.wrong is None else torch.stack([self.answer, self.wrong], dim=1)

    def of(self, read: Read) -> Value:
        """1 or 0."""
        if self.wrong is not None:
            return _unless_nan(read, (read[:, 0, 0] > read[:, 0, 1]).double())
        own = target_logits(read, self.answer[:, None])
        return _unless_nan(read, ((read[:, 0] >= own).sum(dim=1) == 1).double())

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same with these prompts' tokens."""
        wrong = None if self.wrong is None else of_prompts(self.wrong, prompts)
        return replace(self, answer=of_prompts(self.answer, prompts), wrong=wrong)


def _unless_nan(read: Read, value: Float[Tensor, " batch"]) -> Value:
    # No comparison with NaN is true, so broken logits would put the answer on top.
    return torch.where(read.isnan().any(dim=(1, 2)), torch.nan, value.to(read.dtype))
