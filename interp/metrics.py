"""Metrics: logits to one number per prompt, each telling which positions and token columns it reads.

A metric is a function of what it declares and of nothing else: `metric(logits)` first selects, then computes `of` what
was selected. Whoever runs the model may therefore compute those positions and columns alone. What is read is widened
to float64 first.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import MetricError, NonFiniteError, OutOfRangeError, ShapeError

Logits = Float[Tensor, "batch pos d_vocab"]
Read = Float[Tensor, "batch read column"]
Value = Float[Tensor, " batch"]
Ids = Int[Tensor, " batch"]
Lanes = Int[Tensor, " lane"]


class Metric(ABC):
    """Logits to one number per prompt."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What is measured, with its unit."""

    @property
    def positions(self) -> tuple[int, ...] | None:
        """The positions that are read, negative ones from the end; None for all."""
        return None

    @property
    def columns(self) -> Int[Tensor, "batch column"] | None:
        """The token columns that are read of each prompt; None for all."""
        return None

    @abstractmethod
    def of(self, read: Read) -> Value:
        """The metric of the logits at its positions and columns."""

    def for_prompts(self, prompts: Lanes) -> "Metric | None":
        """The metric of these prompts alone, in this order, a prompt as often as it is named.

        None says that it is a function of the whole batch at once and cannot be taken apart. A metric that is given
        here must treat each row of what it reads by itself.
        """
        return None

    def __call__(self, logits: Logits) -> Value:
        """The metric of each prompt.

        Raises:
            ShapeError: logits of other axes, or for another number of prompts than the metric was made for.
            OutOfRangeError: a position or token that the logits do not have.
            MetricError: not one number per prompt.
            NonFiniteError: a prompt's number is NaN or infinite.
        """
        value = self.of(self.selected(logits).double())
        if not isinstance(value, Tensor) or value.shape != logits.shape[:1]:
            got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise MetricError(f"{self.name} must be one number per prompt, shape {[len(logits)]}; it is {got}")
        if not bool(value.isfinite().all()):
            prompt = int((~value.isfinite()).nonzero()[0])
            raise NonFiniteError(f"{self.name} is {float(value[prompt])} on prompt {prompt}")
        return value

    def selected(self, logits: Logits) -> Read:
        """The logits at the metric's positions and columns.

        Raises:
            ShapeError, OutOfRangeError: as the call.
        """
        if logits.ndim != 3:
            raise ShapeError(f"{self.name} reads logits [batch, pos, d_vocab], not {list(logits.shape)}")
        read = logits if self.positions is None else logits[:, _within(self.positions, logits.shape[1], "positions")]
        if self.columns is None:
            return read
        columns = self.columns.to(logits.device)
        if len(columns) != len(logits):
            raise ShapeError(f"{self.name} has answers for {len(columns)} prompts; the logits are of {len(logits)}")
        _within(columns.flatten().tolist(), logits.shape[2], "token ids", negative=False)
        return read.gather(2, columns[:, None].expand(-1, read.shape[1], -1))


@dataclass(frozen=True, eq=False)
class LogitDifference(Metric):
    """logit(answer) - logit(wrong) at one position.

    Attributes:
        answer: each prompt's right token.
        wrong: the token it is set against.
        position: where the prediction is read; the last by default.
    """

    answer: Ids
    wrong: Ids
    position: int = -1

    def __post_init__(self) -> None:
        if self.answer.shape != self.wrong.shape:
            raise ShapeError(
                f"{len(self.answer)} answers and {len(self.wrong)} wrong ones; each prompt has one of each"
            )

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
        return replace(self, answer=self.answer[prompts], wrong=self.wrong[prompts])


@dataclass(frozen=True, eq=False)
class LogProbability(Metric):
    """log p(answer) at one position, in nats.

    Attributes:
        answer: each prompt's token.
        position: where the prediction is read; the last by default.
    """

    answer: Ids
    position: int = -1

    @property
    def name(self) -> str:
        """What is measured, with its unit."""
        return "log-probability of the answer, nats"

    @property
    def positions(self) -> tuple[int, ...]:
        """One position."""
        return (self.position,)

    def of(self, read: Read) -> Value:
        """The answer's logit less the log-sum of all."""
        return _next_log_prob(read, self.answer[:, None])[:, 0]

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same with these prompts' tokens."""
        return replace(self, answer=self.answer[prompts])


@dataclass(frozen=True, eq=False)
class Divergence(Metric):
    """KL(reference || model) in nats at one position, or its mean over all.

    Attributes:
        reference: the logits of another run, usually the clean one, of all positions.
        position: where the two are compared; None for the mean over all positions.
    """

    reference: Logits
    position: int | None = -1

    @property
    def name(self) -> str:
        """What is measured, with its unit."""
        return "KL(reference || model), nats"

    @property
    def positions(self) -> tuple[int, ...] | None:
        """One position, or all."""
        return None if self.position is None else (self.position,)

    def of(self, read: Read) -> Value:
        """The divergence, mean over what is read."""
        at = self.positions
        reference = (
            self.reference if at is None else self.reference[:, _within(at, self.reference.shape[1], "positions")]
        )
        if reference.shape != read.shape:
            raise ShapeError(f"the reference logits have shape {list(reference.shape)}, the model's {list(read.shape)}")
        p, q = reference.to(read).log_softmax(dim=-1), read.log_softmax(dim=-1)
        # A token without probability adds nothing, also where both logarithms are -inf.
        terms = torch.where(p == -torch.inf, 0.0, p.exp() * (p - q))
        return terms.sum(dim=-1).mean(dim=1)

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same against these prompts' reference."""
        return replace(self, reference=self.reference[prompts])


@dataclass(frozen=True, eq=False)
class Loss(Metric):
    """The mean next-token cross-entropy of each prompt, in nats.

    Attributes:
        tokens: the prompts, whose own next tokens are the targets.
        at: the positions whose predictions count, from 0; by default all but the last, which has no next token.
    """

    tokens: Int[Tensor, "batch pos"]
    at: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.tokens.shape[1] < 2:
            raise ShapeError(f"the loss needs a next token; tokens of shape {list(self.tokens.shape)} have none")
        outside = [at for at in self.positions if not 0 <= at < self.tokens.shape[1] - 1]
        if outside or not self.positions:
            raise OutOfRangeError(
                f"the loss is read at some of the positions 0 to {self.tokens.shape[1] - 2}, not at {self.at}"
            )

    @property
    def name(self) -> str:
        """What is measured, with its unit."""
        return "loss, nats"

    @property
    def positions(self) -> tuple[int, ...]:
        """Those whose predictions count."""
        return tuple(range(self.tokens.shape[1] - 1)) if self.at is None else self.at

    def of(self, read: Read) -> Value:
        """The mean over positions."""
        targets = self.tokens[:, [at + 1 for at in self.positions]]
        return -_next_log_prob(read, targets).mean(dim=1)

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same with these prompts' tokens."""
        return replace(self, tokens=self.tokens[prompts])


@dataclass(frozen=True, eq=False)
class Function(Metric):
    """Any function of the logits.

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


def _next_log_prob(read: Read, targets: Int[Tensor, "prompt position"]) -> Float[Tensor, "batch read"]:
    if targets.shape != read.shape[:2]:
        raise ShapeError(f"targets of shape {list(targets.shape)} for logits of {list(read.shape)}")
    _within(targets.flatten().tolist(), read.shape[2], "token ids", negative=False)
    return read.gather(2, targets.to(read.device)[..., None])[..., 0] - read.logsumexp(dim=-1)


def _within(given: tuple[int, ...] | list[int], size: int, what: str, negative: bool = True) -> list[int]:
    low = -size if negative else 0
    outside = [at for at in given if not low <= at < size]
    if outside:
        raise OutOfRangeError(f"the metric reads {what} {low} to {size - 1}; {outside[0]} is outside")
    return list(given)
