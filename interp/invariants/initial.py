"""Laws of random weights, on copies of the model in which a few matrices are drawn afresh.

They hold for any stream, hence for a trained model's; each is a mean over draws against its exact expectation.
Sources: Vaswani et al. (2017), footnote 4, on the score's variance; `interp.initialisation`.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..bridge_rotary import score_scale
from ..hooks import edited
from ..initialisation import log_partition, second_order_divergence, uniform_divergence
from .circuits import SAMPLING
from .invariant import Bounded, Invariant, NothingToMeasureError
from .reading import (
    activations,
    attention_input,
    deviation,
    is_causal,
    positions,
    sixteen_bit,
    visible,
    window_of,
    with_read_positions,
    worst,
)
from .weights import logits_with, other_names, parameter

N_SAMPLES = 32
"""Independent draws of a pair of query and key matrices."""

LENGTH = 8
"""Positions of the prompt: what is random are the weights."""

READ = 3
"""Last positions whose loss is read."""


def _attended(
    model: Any, weights: Mapping[str, Tensor], tokens: Int[Tensor, "batch pos"], layer: int, point: str
) -> Float[Tensor, "batch head query key"]:
    seen: list[Tensor] = []

    def keep(activation: Tensor) -> Tensor:
        seen.append(activation)
        return activation

    with edited(model, {f"blocks.{layer}.attn.{point}": keep}, allow_nonfinite=True):
        logits_with(model, weights, tokens)
    return seen[0].double()


def _drawn(model: Any, layer: int, std: float, generator: torch.Generator) -> dict[str, Tensor]:
    drawn = {}
    for name in ("W_Q", "W_K", "b_Q", "b_K"):
        for full, value in parameter(model, layer, name).items():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            drawn[full] = (std * noise if name.startswith("W") else 0 * noise).to(value)
    return drawn


def _inputs(model: Any, tokens: Int[Tensor, "batch pos"], layer: int) -> Float[Tensor, "batch pos d_model"]:
    name = f"blocks.{layer}.hook_resid_pre"
    read = attention_input(model, layer, activations(model, tokens, [name])[name][0].double())
    return with_read_positions(model, read)


def _n_groups(model: Any) -> int:
    (W_K,) = parameter(model, 0, "W_K").values()
    return len(W_K)


def _share(measured: Float[Tensor, " sample"], expected: float) -> Bounded:
    """|mean of measured / expected - 1|, allowed five standard errors."""
    if not expected > 0:
        raise NothingToMeasureError("on these tokens the law says zero, which every model fulfils")
    mean = measured.mean()
    # The spread as a share of what was measured: a law that is wrong by a factor must not widen its own tolerance.
    return Bounded(abs(float(mean) / expected - 1), 5 * float(measured.std() / mean) / math.sqrt(len(measured)))


def variance_off_its_law(model: Any, tokens: Int[Tensor, "batch pos"]) -> Bounded:
    """|E s^2 / (std^4 |x_i|^2 |x_j|^2 d_head / scale^2) - 1| of the last layer's scores under random weights."""
    tokens, layer = tokens[:1, :LENGTH], model.cfg.n_layers - 1
    squares = _inputs(model, tokens, layer).square().sum(dim=-1)
    seen = visible(model, layer, tokens.shape[1])
    std, generator = model.cfg.d_model**-0.5, torch.Generator().manual_seed(0)
    n_groups = _n_groups(model)
    samples = []
    for _ in range(math.ceil(N_SAMPLES / n_groups)):
        scores = _attended(model, _drawn(model, layer, std, generator), tokens, layer, "hook_attn_scores")
        # The heads of a group share their keys, so a group is one sample.
        by_group = scores.masked_fill(~seen, 0.0).square().sum(dim=(0, -2, -1)).unflatten(0, (n_groups, -1))
        samples.append(by_group.mean(dim=-1))
    pairs = (squares[:, :, None] * squares[:, None, :]).masked_fill(~seen, 0.0).sum()
    expected = std**4 * model.cfg.d_head / score_scale(model, layer) ** 2 * pairs
    return _share(torch.cat(samples), float(expected))


def scores_are_bent(model: Any) -> str | None:
    """The obstacle of a soft cap on the scores, or of too coarse rounding."""
    if (getattr(model.cfg, "attn_scores_soft_cap", None) or -1) > 0:
        return "a soft cap bends the scores"
    return other_names(model) or sixteen_bit(model)


def divergence_off_its_law(model: Any, tokens: Int[Tensor, "batch pos"]) -> Bounded:
    """|KL from uniform / its second-order expectation - 1| of the first layer under small random weights."""
    tokens, n_groups = tokens[:1, :LENGTH], _n_groups(model)
    inputs, seen = _inputs(model, tokens, 0), visible(model, 0, tokens.shape[1])
    gain = model.cfg.d_head / score_scale(model, 0) ** 2
    largest = float(inputs.square().sum(dim=-1).max())
    if not largest > 0:
        raise NothingToMeasureError("the first layer reads zeros")
    # Scores of 0.05, where terms of higher order are a few thousandths.
    std = (0.05 / (math.sqrt(gain) * largest)) ** 0.5
    generator, samples = torch.Generator().manual_seed(0), []
    for _ in range(math.ceil(N_SAMPLES / n_groups)):
        pattern = _attended(model, _drawn(model, 0, std, generator), tokens, 0, "hook_pattern")
        samples.append(uniform_divergence(pattern, seen).sum(dim=(0, -1)).unflatten(0, (n_groups, -1)).mean(dim=-1))
    expected = float(second_order_divergence(inputs, seen, std, std, gain).sum())
    if expected < 1e-8:
        raise NothingToMeasureError("the first layer's inputs are alike, so that no score can tell them apart")
    return _share(torch.cat(samples), expected)


def keys_are_turned(model: Any) -> str | None:
    """The obstacle of keys that are turned, of bent scores, or of coarse rounding."""
    if positions(model) == "rotary":
        return "rotary positions turn the keys"
    return scores_are_bent(model)


def loss_off_its_law(model: Any, tokens: Int[Tensor, "batch pos"]) -> Bounded:
    """|loss - E logsumexp| in nats, over all targets, under a random unembedding whose logits have variance 1/4."""
    # The last positions: the first may be a token that comes before every text, with a stream of its own size.
    tokens = tokens[:1]
    name = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    read = model.ln_final(activations(model, tokens, [name])[name][0]).double()[0, -READ:]
    squares = read.square().sum(dim=-1)
    if not bool((squares > 0).all()):
        raise NothingToMeasureError("the unembedding reads zeros")
    std = 0.5 / float(squares.mean()) ** 0.5
    W_U, b_U = model.unembed.W_U, model.unembed.b_U
    expected = torch.tensor([log_partition(W_U.shape[-1], std**2 * float(square)) for square in squares])
    generator, samples = torch.Generator().manual_seed(0), []
    for _ in range(16):
        drawn = std * torch.randn(W_U.shape, generator=generator, dtype=torch.float64)
        weights = {"unembed.W_U": drawn.to(W_U), "unembed.b_U": torch.zeros_like(b_U)}
        logits = logits_with(model, weights, tokens)[0, -READ:].double()
        samples.append(((logits.logsumexp(dim=-1) - logits.mean(dim=-1)).cpu() - expected).mean())
    excess = torch.stack(samples)
    return Bounded(abs(float(excess.mean())), 5 * float(excess.std()) / math.sqrt(len(excess)))


def unembedding_cannot_be_drawn(model: Any) -> str | None:
    """The obstacle of logits that are bent, or of an unembedding that also makes the stream."""
    obstacle = other_names(model) or sixteen_bit(model)
    if obstacle is not None:
        return obstacle
    if (getattr(model.cfg, "output_logits_soft_cap", None) or -1) > 0:
        return "a soft cap bends the logits"
    if "unembed.W_U" not in dict(model.named_parameters()):
        return "a tied unembedding cannot be drawn without the stream"
    return None


def spectrum_off_the_even_one(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of patterns without queries from even ones, and of their eigenvalues from 1, 1/2, ..., 1/n."""
    tokens = tokens[:1, :LENGTH]
    n = tokens.shape[1]
    weights: dict[str, Tensor] = {}
    for layer in range(model.cfg.n_layers):
        for name in ("W_Q", "b_Q"):
            weights |= {full: torch.zeros_like(value) for full, value in parameter(model, layer, name).items()}
    errors = []
    for layer in range(model.cfg.n_layers):
        pattern = _attended(model, weights, tokens, layer, "hook_pattern")
        seen = visible(model, layer, n).to(pattern)
        errors.append(deviation(pattern, (seen / seen.sum(dim=-1, keepdim=True)).expand_as(pattern)))
        if is_causal(model) and window_of(model, layer) is None:
            found = torch.linalg.eigvals(pattern).real.sort(dim=-1, descending=True).values
            errors.append(deviation(found, (1 / torch.arange(1, n + 1).to(found)).expand_as(found)))
    return worst(errors)


INVARIANTS = (
    Invariant(
        "score-variance", "random queries and keys give scores of variance std^4 |x_i|^2 |x_j|^2 d_head / scale^2",
        variance_off_its_law, SAMPLING, scores_are_bent,
    ),
    Invariant(
        "uniform-kl", "small random scores leave KL from uniform at half their variance along a row",
        divergence_off_its_law, SAMPLING, keys_are_turned,
    ),
    Invariant(
        "initial-loss", "a random unembedding gives a loss of E logsumexp: ln V + variance / 2 while that is small",
        loss_off_its_law, SAMPLING, unembedding_cannot_be_drawn,
    ),
    Invariant(
        "uniform-spectrum", "without queries attention is even over what is seen, with eigenvalues 1, 1/2, ..., 1/n",
        spectrum_off_the_even_one, obstacle=other_names,
    ),
)  # fmt: skip
