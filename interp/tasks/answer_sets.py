"""A metric between sets of tokens: how much likelier a right next token is than a wrong one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ShapeError
from ..metrics.metric import Lanes, Metric, Read, Value, of_prompts, require_tokens

NONE = -1
"""Fills the rows of the smaller sets."""


@dataclass(frozen=True, eq=False)
class ProbabilityDifference(Metric):
    """p(any right token) - p(any wrong token) at one position, between -1 and 1.

    Source: Hanna, Liu and Variengien (2023), "How does GPT-2 compute greater-than?"

    Attributes:
        right: each prompt's right tokens; -1 fills the rows of smaller sets.
        wrong: the tokens they are set against, likewise.
        position: where the prediction is read; the last by default.
    """

    right: Int[Tensor, "prompt right"]
    wrong: Int[Tensor, "prompt wrong"]
    position: int = -1

    def __post_init__(self) -> None:
        if len(self.right) != len(self.wrong):
            raise ShapeError(f"{len(self.right)} sets of right tokens and {len(self.wrong)} of wrong ones")

    @classmethod
    def between(cls, right: Sequence[Sequence[int]], wrong: Sequence[Sequence[int]], position: int = -1) -> Metric:
        """The metric between sets of any sizes."""
        return cls(_filled(right), _filled(wrong), position)

    @property
    def name(self) -> str:
        """What is measured."""
        return "probability difference"

    @property
    def positions(self) -> tuple[int, ...]:
        """One position."""
        return (self.position,)

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same with these prompts' sets."""
        return replace(self, right=of_prompts(self.right, prompts), wrong=of_prompts(self.wrong, prompts))

    def of(self, read: Read) -> Value:
        """The probability of the first set less that of the second."""
        if len(read) != len(self.right):
            raise ShapeError(f"{self.name} has answers for {len(self.right)} prompts; the logits are of {len(read)}")
        probability = read[:, 0].softmax(dim=-1)
        return _within(probability, self.right) - _within(probability, self.wrong)


def _filled(sets: Sequence[Sequence[int]]) -> Int[Tensor, "prompt token"]:
    most = max(map(len, sets))
    return torch.tensor([[*ids, *[NONE] * (most - len(ids))] for ids in sets])


def _within(probability: Float[Tensor, "batch d_vocab"], sets: Int[Tensor, "batch token"]) -> Float[Tensor, " batch"]:
    """The probability that the next token is one of the set."""
    sets = sets.to(probability.device)
    there = sets != NONE
    require_tokens(sets[there], probability.shape[1])
    return (probability.gather(1, sets.where(there, 0)) * there).sum(dim=1)
