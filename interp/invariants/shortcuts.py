"""Short roads that sweeps take, each against the long one: rows, columns and heads by themselves."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..hooks import edited
from ..interventions import add, patch
from ..lenses import lens_logits
from ..sites import site
from .invariant import Invariant
from .reading import activations, deviation, head_weights, other_tokens, soft_capped, worst
from .weights import other_names


def answers_off_the_logits(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the last position's logits, and of a few tokens' of them, computed by themselves."""
    name = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    stream = activations(model, tokens, [name])[name][0][:, -1:]
    logits = model(tokens)[:, -1:]
    columns = torch.arange(0, logits.shape[-1], max(1, logits.shape[-1] // 5))
    normed = model.ln_final(stream).double()
    few = normed @ model.unembed.W_U.double()[:, columns] + model.unembed.b_U.double()[columns]
    few = soft_capped(few, getattr(model.cfg, "output_logits_soft_cap", None))
    return worst([deviation(lens_logits(model, stream), logits), deviation(few, logits[..., columns])])


def head_change_off_its_write(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation between another z for a head and (z' - z) W_O added to what attention writes, a head a layer."""
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    here, there = (activations(model, given, names) for given in (tokens, other_tokens(model, tokens)))
    errors = []
    for layer, name in enumerate(names):
        head = layer % model.cfg.n_heads
        cell = site(model, name).at(head=head)
        old, new = (cell.read(run[name][0]) for run in (here, there))
        write = ((new - old).double() @ head_weights(model, layer, "W_O")[head]).to(new)
        with edited(model, {cell: patch(new)}, allow_nonfinite=True):
            long = model(tokens)
        with edited(model, {f"blocks.{layer}.hook_attn_out": add(write)}, allow_nonfinite=True):
            short = model(tokens)
        errors.append(deviation(short, long))
    return worst(errors)


def writes_are_normed(model: Any) -> str | None:
    """The obstacle of a norm between the heads and the stream."""
    if getattr(model.cfg, "use_normalization_before_and_after", False):
        return "a norm stands between the heads and what attention writes"
    return other_names(model)


INVARIANTS = (
    Invariant(
        "answer-only", "one position and a few tokens, read out by themselves, have the logits of the whole run",
        answers_off_the_logits,
    ),
    Invariant(
        "head-delta", "another z of a head does what (z' - z) W_O added to attention's write does",
        head_change_off_its_write, obstacle=writes_are_normed,
    ),
)  # fmt: skip
