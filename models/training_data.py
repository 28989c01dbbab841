"""What a trainer asks of its data, so that text and arithmetic are trained by the same code."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from .evaluation import Estimate
from .transformer import HookedTransformer


@runtime_checkable
class TrainingData(Protocol):
    """Batches, each a function of the step alone, and what is measured on the way.

    Attributes:
        sha256: the hash of everything that the batches and measurements depend on.
    """

    @property
    def sha256(self) -> str: ...

    def batch(self, step: int) -> Int[Tensor, "row pos"]:
        """The rows of that step, counted from 0."""
        ...

    def loss(self, model: HookedTransformer, rows: Int[Tensor, "row pos"]) -> Float[Tensor, ""]:
        """What training lowers on these rows: the mean over all that is to be predicted, in nats."""
        ...

    def held_out_sample(self, model: HookedTransformer) -> Estimate:
        """The model's loss on a fixed sample that is never trained on, in nats for each token."""
        ...
