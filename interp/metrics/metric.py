"""What a metric is: it declares what it reads, and gives one number per prompt."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from ..errors import MetricError, NonFiniteError, OutOfRangeError, ShapeError

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
        read = logits if self.positions is None else logits[:, within(self.positions, logits.shape[1])]
        if self.columns is None:
            return read
        columns = self.columns.to(logits.device)
        if len(columns) != len(logits):
            raise ShapeError(f"{self.name} has answers for {len(columns)} prompts; the logits are of {len(logits)}")
        require_tokens(columns, logits.shape[2])
        return read.gather(2, columns[:, None].expand(-1, read.shape[1], -1))


def within(positions: Sequence[int], length: int) -> list[int]:
    """The positions.

    Raises:
        OutOfRangeError: prompts of this length do not have one of them.
    """
    outside = [at for at in positions if not -length <= at < length]
    if outside:
        raise OutOfRangeError(f"the metric reads positions {-length} to {length - 1}; {outside[0]} is outside")
    return list(positions)


def require_tokens(ids: Int[Tensor, "..."], d_vocab: int) -> None:
    """Nothing, if all are tokens.

    Raises:
        OutOfRangeError: one is not.
    """
    outside = ids[(ids < 0) | (ids >= d_vocab)]
    if len(outside):
        raise OutOfRangeError(f"the metric reads token ids 0 to {d_vocab - 1}; {int(outside[0])} is outside")


def log_probability(read: Read, targets: Int[Tensor, "prompt position"]) -> Float[Tensor, "batch read"]:
    """The log-probability of one token at each position, in nats.

    Raises:
        ShapeError: not one target for each position of each prompt.
        OutOfRangeError: a target that is no token.
    """
    return target_logits(read, targets) - read.logsumexp(dim=-1)


def target_logits(read: Read, targets: Int[Tensor, "prompt position"]) -> Float[Tensor, "batch read"]:
    """The logit of one token at each position.

    Raises:
        ShapeError, OutOfRangeError: as `log_probability`.
    """
    if targets.shape != read.shape[:2]:
        raise ShapeError(f"targets of shape {list(targets.shape)} for logits of {list(read.shape)}")
    require_tokens(targets, read.shape[2])
    return read.gather(2, targets.to(read.device)[..., None])[..., 0]


def of_prompts(values: Int[Tensor, "prompt ..."], prompts: Lanes) -> Int[Tensor, "lane ..."]:
    """The rows of these prompts, wherever either lies."""
    return values[prompts.to(values.device)]
