"""How a model adds modulo p: the waves in its embedding, its neurons and its logits, and what happens without them.

Everything is measured on the whole table of p x p sums, so nothing is sampled and no number has an interval.
Source: Nanda et al. (2023), "Progress measures for grokking via mechanistic interpretability", sections 4 and 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .fourier import fourier_basis, kept_frequencies, power_by_frequency
from .hooks import Edit, edited

ANSWERED_AT = 2
"""The position of the sign =, where the sum is said."""


@dataclass(frozen=True)
class Answers:
    """How well the table is answered."""

    accuracy: float
    loss_nats: float


@dataclass(frozen=True)
class LogitWaves:
    """The logits of the table, taken apart. Shares are of the variance over the table, logits centred over answers.

    Attributes:
        of_the_sum: the share that depends on a + b - c alone, as an adder's must.
        by_frequency: the share of each frequency of a + b - c, 0 first.
        pythagoras: how far the part that depends on a + b - c and the rest miss the whole, relative to the whole.
    """

    of_the_sum: float
    by_frequency: Float[Tensor, " frequency"]
    pythagoras: float


def sums(modulus: int) -> Int[Tensor, "sum 3"]:
    """Every row [a, b, =]; the sign = is token p."""
    numbers = torch.arange(modulus)
    pairs = torch.cartesian_prod(numbers, numbers)
    return torch.cat([pairs, torch.full((len(pairs), 1), modulus)], dim=1)


@torch.no_grad()
def answer_logits(model: Any, rows: Int[Tensor, "sum 3"]) -> Float[Tensor, "sum number"]:
    """The logits of the numbers 0 to p - 1 at the sign =, float64."""
    modulus = int(rows[0, ANSWERED_AT])
    return model(rows)[:, ANSWERED_AT, :modulus].double()


def answers(logits: Float[Tensor, "sum number"], rows: Int[Tensor, "sum 3"]) -> Answers:
    """Accuracy and mean loss of the right sum among the numbers."""
    right = rows[:, :2].sum(dim=1) % logits.shape[1]
    losses = -logits.log_softmax(dim=-1).gather(1, right[:, None])
    return Answers(float((logits.argmax(dim=-1) == right).double().mean()), float(losses.mean()))


def logit_waves(logits: Float[Tensor, "sum number"], rows: Int[Tensor, "sum 3"]) -> LogitWaves:
    """The frequencies in which the logits depend on a + b - c."""
    modulus = logits.shape[1]
    centred = logits - logits.mean(dim=1, keepdim=True)
    offset = (rows[:, :2].sum(dim=1)[:, None] - torch.arange(modulus, device=rows.device)) % modulus
    profile = torch.zeros(modulus, dtype=torch.float64, device=logits.device).index_add(
        0, offset.flatten(), centred.flatten()
    ) / len(rows)
    whole = centred.square().sum()
    explained = profile[offset]
    rest = (centred - explained).square().sum()
    return LogitWaves(
        float(explained.square().sum() / whole),
        power_by_frequency(profile[:, None]) * len(rows) / whole,
        float((explained.square().sum() + rest - whole).abs() / whole),
    )


def embedding_shares(W_E: Float[Tensor, "number d_model"]) -> Float[Tensor, " frequency"]:
    """The share of the numbers' embeddings in each frequency, once their mean is taken out; frequency 0 has none."""
    power = power_by_frequency(W_E)
    power[0] = 0.0
    return power / power.sum()


def key_frequencies(shares: Float[Tensor, " frequency"], at_least: float = 0.01) -> list[int]:
    """The frequencies with at least that share of the logits, the largest first."""
    order = shares.argsort(descending=True)
    return [int(k) for k in order if k != 0 and shares[k] >= at_least]


@torch.no_grad()
def with_frequencies(model: Any, rows: Int[Tensor, "sum 3"], frequencies: Sequence[int]) -> Answers:
    """The answers when the numbers' embeddings keep only these frequencies (0 is their mean)."""
    modulus = int(rows[0, ANSWERED_AT])
    embeddings = kept_frequencies(model.embed.W_E[:modulus], frequencies)

    def projected(activation: Float[Tensor, "sum pos d_model"]) -> Float[Tensor, "sum pos d_model"]:
        changed = activation.clone()
        changed[:, :ANSWERED_AT] = embeddings[rows[:, :ANSWERED_AT]]
        return changed

    edit: Edit = projected
    with edited(model, {"hook_embed": edit}):
        return answers(answer_logits(model, rows), rows)


@torch.no_grad()
def neuron_waves(
    neurons: Float[Tensor, "sum neuron"], modulus: int
) -> tuple[Float[Tensor, " neuron"], Int[Tensor, " neuron"]]:
    """The share of each neuron's variance over the table in its best single frequency, and that frequency.

    A frequency's share counts every product of its waves in a and in b: constant, cos and sin of each, both. A neuron
    that never changes has share 0.
    """
    waves = fourier_basis(modulus).to(neurons.device)
    in_a = (waves @ neurons.double().reshape(modulus, -1)).reshape(modulus, modulus, -1)
    power = (waves @ in_a).square()
    # A neuron that never changes leaves the rounding of its constant, which is no variance.
    negligible = power[0, 0] * torch.finfo(torch.float64).eps
    power[0, 0] = 0.0
    whole = power.sum(dim=(0, 1))
    shares = []
    for k in range(1, modulus // 2 + 1):
        pair = slice(2 * k - 1, 2 * k + 1)
        shares.append(power[0, pair].sum(0) + power[pair, 0].sum(0) + power[pair, pair].sum(dim=(0, 1)))
    best, index = torch.stack(shares).max(dim=0)
    return torch.where(whole > negligible, best / whole.clamp(min=torch.finfo(torch.float64).tiny), 0.0), index + 1
