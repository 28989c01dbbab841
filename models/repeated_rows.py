"""Rows of random tokens that repeat: what teaches a model to copy from its context, whatever the text is like."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from .batches import seeded
from .errors import ConfigError

_SHORTEST_PERIOD = 8


@dataclass(frozen=True)
class RepeatedRows:
    """Rows of BOS and a random sequence over and over, each of another length.

    The length is from 8 tokens to half of the row, so that no fixed distance tells what comes next; only finding the
    same token earlier on does. It is 8 + (half - 8) u^2 with u uniform, so that short ones, which come round
    often, are more frequent. The rows of a step are a function of the seed and the step alone.

    Raises:
        ConfigError: the context is too short for two copies of the shortest sequence.
    """

    n_ctx: int
    d_vocab: int
    seed: int
    bos: int

    def __post_init__(self) -> None:
        if self.n_ctx - 1 < 2 * _SHORTEST_PERIOD:
            raise ConfigError(f"n_ctx={self.n_ctx} is too short for a sequence of {_SHORTEST_PERIOD} tokens twice")

    def at(self, step: int, rows: int) -> Int[Tensor, "row pos"]:
        """That many rows for that step, counted from 0."""
        generator = seeded(self.seed, f"repeated rows {step}")
        length = self.n_ctx - 1
        drawn = []
        for _ in range(rows):
            square = float(torch.rand((), generator=generator)) ** 2
            period = _SHORTEST_PERIOD + int((length // 2 - _SHORTEST_PERIOD + 1) * square)
            sequence = torch.randint(self.d_vocab, (period,), generator=generator)
            repeated = sequence.repeat(length // period + 1)[:length]
            drawn.append(torch.cat([torch.tensor([self.bos]), repeated]))
        return torch.stack(drawn) if drawn else torch.empty(0, self.n_ctx, dtype=torch.long)
