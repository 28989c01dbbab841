"""How likely the model finds a token: its log-probability, its probability, and the loss of a whole prompt."""

from dataclasses import dataclass, replace

from jaxtyping import Int
from torch import Tensor

from ..errors import OutOfRangeError, ShapeError
from .metric import Ids, Lanes, Metric, Read, Value, log_probability, of_prompts


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
        return log_probability(read, self.answer[:, None])[:, 0]

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same with these prompts' tokens."""
        return replace(self, answer=of_prompts(self.answer, prompts))


@dataclass(frozen=True, eq=False)
class Probability(Metric):
    """p(answer) at one position, from 0 to 1.

    It saturates: near 0 and near 1 large changes of the logits hardly show. Where nothing speaks for probabilities,
    take the logit difference. Source: Zhang and Nanda (2024), "Towards best practices of activation patching".

    Attributes:
        answer: each prompt's token.
        position: where the prediction is read; the last by default.
    """

    answer: Ids
    position: int = -1

    @property
    def name(self) -> str:
        """What is measured."""
        return "probability of the answer"

    @property
    def positions(self) -> tuple[int, ...]:
        """One position."""
        return (self.position,)

    def of(self, read: Read) -> Value:
        """The answer's share of the softmax."""
        return log_probability(read, self.answer[:, None])[:, 0].exp()

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same with these prompts' tokens."""
        return replace(self, answer=of_prompts(self.answer, prompts))


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
        return -log_probability(read, targets).mean(dim=1)

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same with these prompts' tokens."""
        return replace(self, tokens=of_prompts(self.tokens, prompts))
