"""What effects of patching must be where they are known: a whole stream, swapped roles, an unchanged prefix.

Source: Zhang and Nanda (2023), normalised logit difference; Heimersheim and Nanda (2024), denoising and noising.
"""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..effects import Effects
from ..errors import DegenerateBaselineError
from ..metrics import LogitDifference
from ..sweep import sweep
from .invariant import Invariant, NothingToMeasureError
from .patching import patched_logits
from .reading import activations, deviation, not_causal, other_tokens, sixteen_bit, worst


def _swept(
    model: Any, clean: Tensor, corrupted: Tensor, point: str, direction: Any, metric: LogitDifference
) -> Effects:
    try:
        return sweep(model, clean, corrupted, point, ["layer"], metric, direction=direction)
    except DegenerateBaselineError as error:
        raise NothingToMeasureError(f"the runs cannot be told apart: {error}") from error


def _difference(model: Any, tokens: Int[Tensor, "batch pos"]) -> LogitDifference:
    """The logits of the tokens that two runs rate furthest apart, so that there is a difference to bring back."""
    gap = (model(tokens) - model(other_tokens(model, tokens)))[:, -1]
    if gap.shape[-1] < 2:
        raise NothingToMeasureError("a vocabulary of one token has no logit difference")
    return LogitDifference(gap.argmax(dim=-1), gap.argmin(dim=-1))


def normalised_off_one(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """|1 - normalised effect| of a whole stream, as the sweep gives it and worked out from two plain runs."""
    other, metric = other_tokens(model, tokens), _difference(model, tokens)
    found = _swept(model, tokens, other, "resid_pre", "denoising", metric)
    clean, corrupted = metric(model(tokens)), metric(model(other))
    by_hand = (found.values.to(clean) - corrupted[:, None]).mean(dim=0) / (clean - corrupted).mean()
    ends = deviation(torch.stack([found.clean, found.corrupted]).to(clean), torch.stack([clean, corrupted]))
    return worst([ends, *(float(abs(1 - share)) for share in [*by_hand, *found.normalised.mean])])


def roles_off(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """What is left of antisymmetry when clean and corrupted change places, for what each attention layer writes."""
    other, metric = other_tokens(model, tokens), _difference(model, tokens)
    denoised = _swept(model, tokens, other, "attn_out", "denoising", metric)
    noised = _swept(model, other, tokens, "attn_out", "noising", metric)
    # The same run under two names: brought towards clean by so much, it is as far from corrupted.
    errors = [deviation(noised.values, denoised.values), deviation(noised.gap, denoised.gap)]
    errors.append(deviation(noised.normalised.mean, denoised.normalised.mean))
    swapped = _swept(model, other, tokens, "resid_pre", "denoising", metric)
    whole = _swept(model, tokens, other, "resid_pre", "denoising", metric)
    errors.append(deviation(swapped.change, -whole.change))
    return worst(errors)


def effect_of_an_equal_prefix(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when positions before the first differing token are patched, in each layer."""
    other = tokens.clone()
    other[:, -1] = other_tokens(model, tokens)[:, -1]
    plain, end = model(tokens), tokens.shape[1] - 1
    layers = range(model.cfg.n_layers)
    names = [f"blocks.{layer}.{point}" for layer in layers for point in ("hook_resid_pre", "hook_attn_out")]
    here, there = (activations(model, given, names) for given in (tokens, other))
    errors = []
    for name in names:
        mixed = torch.cat([there[name][0][:, :end], here[name][0][:, end:]], dim=1)
        errors.append(deviation(patched_logits(model, tokens, {name: [mixed]}), plain))
    return worst(errors)


INVARIANTS = (
    Invariant(
        "normalised-effect", "patching the whole stream has a normalised effect of 1 (0 is corrupted, 1 clean)",
        normalised_off_one, obstacle=sixteen_bit,
    ),
    Invariant(
        "swapped-roles", "clean and corrupted in each other's place: the same run, and the gap with its sign turned",
        roles_off, obstacle=sixteen_bit,
    ),
    Invariant(
        "equal-prefix", "patching positions before the first differing token changes nothing",
        effect_of_an_equal_prefix, obstacle=not_causal,
    ),
)  # fmt: skip
