"""Which heads are taken for the two halves of the induction circuit, and which others for the control."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.head_ablation import Head
from interp.head_scores import HeadScores

from .head_tables import is_one
from .labels import head_label


@dataclass(frozen=True)
class Circuit:
    """The heads that are asked about.

    Attributes:
        induction: heads that look at what followed earlier copies; never of the first layer.
        previous: heads that look at the previous token, of layers before the last induction head.
        found_induction: whether the first reach the threshold; if not, they are the nearest candidate.
        found_previous: the same of the second.
        others: all heads that are neither.
    """

    induction: list[Head]
    previous: list[Head]
    found_induction: bool
    found_previous: bool
    others: list[Head]

    @property
    def induction_name(self) -> str:
        """What the first are called."""
        return _called("induction", self.induction, self.found_induction)

    @property
    def previous_name(self) -> str:
        """What the second are called."""
        return _called("previous-token", self.previous, self.found_previous)

    def controls(self, n_heads: int, draws: int, generator: torch.Generator) -> list[list[Head]]:
        """Sets of that many other heads, or of all of them where there are fewer; no set comes twice."""
        drawn = {}
        for _ in range(draws if self.others else 0):
            chosen = torch.randperm(len(self.others), generator=generator)[:n_heads].sort().values
            drawn[tuple(chosen.tolist())] = [self.others[at] for at in chosen.tolist()]
        return list(drawn.values())


def circuit(previous: HeadScores, induction: HeadScores, threshold: float) -> Circuit:
    """The heads above threshold and null; where there are none, the one with the highest score."""
    copying, found_induction = _best(induction, threshold, range(1, induction.values.shape[1]))
    before = range(max(layer for layer, _ in copying))
    feeding, found_previous = _best(previous, threshold, before)
    n_layers, n_heads = induction.values.shape[1:]
    every = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    others = [head for head in every if head not in copying and head not in feeding]
    return Circuit(copying, feeding, found_induction, found_previous, others)


def names(heads: list[Head]) -> str:
    """The heads as "L0H1, L1H2"."""
    return ", ".join(head_label(*head) for head in heads)


def _called(kind: str, heads: list[Head], found: bool) -> str:
    return f"{kind} head{'s' * (len(heads) > 1)}" if found else f"head nearest to {kind}"


def _best(scores: HeadScores, threshold: float, layers: range) -> tuple[list[Head], bool]:
    mean: Float[Tensor, "layer head"] = scores.values.mean(dim=0)[layers.start : layers.stop].cpu()
    found = is_one(scores, threshold)[layers.start : layers.stop].nonzero().tolist()
    chosen = found or [list(divmod(int(mean.argmax()), mean.shape[1]))]
    chosen.sort(key=lambda at: -float(mean[at[0], at[1]]))
    return [(layer + layers.start, head) for layer, head in chosen], bool(found)
