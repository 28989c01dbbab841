"""How far the predictions are from those of another run."""

from dataclasses import dataclass, replace

import torch

from ..errors import ShapeError
from .metric import Lanes, Logits, Metric, Read, Value, of_prompts, within


@dataclass(frozen=True, eq=False)
class Divergence(Metric):
    """KL(reference || model) in nats at one position, or its mean over all. 0 where both predict the same.

    Attributes:
        reference: the logits of another run, usually the clean one, of all positions.
        position: where the two are compared; None for the mean over all positions.
        prompts: the rows of the reference that the logits are compared with; by default each with its own.
    """

    reference: Logits
    position: int | None = -1
    prompts: Lanes | None = None

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
        reference = self.reference
        if self.positions is not None:
            reference = reference[:, within(self.positions, reference.shape[1])]
        if self.prompts is None:
            p = reference.to(read).log_softmax(dim=-1)
        else:
            # Before prompts are repeated, and of those that are there alone: a softmax over the vocabulary is dear.
            there, place = self.prompts.to(reference.device).unique(return_inverse=True)
            p = reference[there].to(read).log_softmax(dim=-1)[place.to(read.device)]
        if p.shape != read.shape:
            raise ShapeError(f"the reference logits have shape {list(p.shape)}, the model's {list(read.shape)}")
        q = read.log_softmax(dim=-1)
        # A token without probability adds nothing, also where both logarithms are -inf.
        terms = torch.where(p == -torch.inf, 0.0, p.exp() * (p - q))
        return terms.sum(dim=-1).mean(dim=1)

    def for_prompts(self, prompts: Lanes) -> Metric:
        """The same against these prompts' reference, which is not copied."""
        return replace(self, prompts=prompts if self.prompts is None else of_prompts(self.prompts, prompts))
