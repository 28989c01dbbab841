"""A model frozen into an affine map: patterns, norm scales and gates as they were in one run.

On it attribution patching is exact. Sources: Golden (2025), "Equivalent linear mappings of large language models", on
the detached Jacobian; Nanda (2023), "Attribution patching".
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..hooks import Edit, edited
from ..sites import site
from .invariant import Invariant
from .patching import replayed
from .reading import activations, deviation, other_tokens, sixteen_bit
from .stream import embeddings, writers

START = "blocks.0.hook_resid_pre"


def read_out(logits: Float[Tensor, "batch pos d_vocab"]) -> Float[Tensor, "batch pos d_vocab"]:
    """A fixed random direction of the logits: whatever depends on any of them shows in its product with them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(logits.shape[1:], generator=generator, dtype=torch.float64).to(logits).expand(logits.shape)


def frozen(model: Any, tokens: Int[Tensor, "batch pos"]) -> Callable[[], dict[str, Edit]]:
    """Fresh edits for one run each, under which the model is affine, and on these tokens what it was."""
    held = [name for name in model.hook_dict if name.endswith((".hook_pattern", ".hook_scale"))]
    layers = [f"blocks.{layer}.mlp" for layer in range(model.cfg.n_layers) if _has_mlp(model, layer)]
    linear = "hook_pre_linear" if getattr(model.cfg, "gated_mlp", False) else "hook_pre"
    neurons = [f"{mlp}.{point}" for mlp in layers for point in (linear, "hook_post")]
    with torch.no_grad():
        seen = activations(model, tokens, [*held, *neurons])

    def edits() -> dict[str, Edit]:
        fresh: dict[str, Edit] = {name: replayed(seen[name]) for name in held}
        for mlp in layers:
            fresh |= _affine_neurons(f"{mlp}.{linear}", f"{mlp}.hook_post", seen)
        return fresh

    return edits


def _affine_neurons(before: str, after: str, seen: Mapping[str, list[Tensor]]) -> dict[str, Edit]:
    pre, post = seen[before][0], seen[after][0]
    # The gate at its value; where it would be 0 / 0 or huge any number will do, for the map is affine with all.
    gate = torch.where(pre != 0, post / pre, 0.0).clamp(-2, 2)
    now: list[Tensor] = []

    def read(activation: Tensor) -> Tensor:
        now[:] = [activation]
        return activation

    return {before: read, after: lambda activation: post + gate * (now[0] - pre)}


def _has_mlp(model: Any, layer: int) -> bool:
    return f"blocks.{layer}.mlp.hook_post" in model.hook_dict


def attribution_off_the_frozen_patch(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of (corrupted - clean) x gradient from patching, for every writer and a head of each layer."""
    names = [*embeddings(model), *(name for layer in range(model.cfg.n_layers) for name in writers(model, layer))]
    heads = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    clean, corrupted = (activations(model, given, [*names, *heads]) for given in (tokens, other_tokens(model, tokens)))
    held = frozen(model, tokens)
    gradients = gradients_at(model, tokens, held(), [*names, *heads])
    cells = [site(model, name).at() for name in names]
    cells += [site(model, name).at(head=layer % model.cfg.n_heads) for layer, name in enumerate(heads)]
    plain = _metric(model, tokens, held())
    exact, linear = [], []
    for cell in cells:
        there, here = (cell.read(run[cell.name][0]) for run in (corrupted, clean))
        exact.append(_metric(model, tokens, {**held(), cell: lambda activation, there=there: there}) - plain)
        linear.append(((there - here).double() * cell.read(gradients[cell.name]).double()).sum())
    return deviation(torch.stack(linear), torch.stack(exact))


def _metric(model: Any, tokens: Int[Tensor, "batch pos"], edits: Mapping[Any, Edit]) -> Float[Tensor, ""]:
    with edited(model, edits, allow_nonfinite=True):
        logits = model(tokens)
    return (logits.double() * read_out(logits).double()).sum()


@torch.enable_grad()
def gradients_at(
    model: Any, tokens: Int[Tensor, "batch pos"], edits: Mapping[str, Edit], names: list[str]
) -> dict[str, Tensor]:
    """The gradient of the read-out logits at each of these points, under the edits."""
    seen: dict[str, Tensor] = {}

    def kept(name: str) -> Edit:
        def keep(activation: Tensor) -> Tensor:
            # The embeddings become leaves; behind them a gradient reaches every point through them.
            leaf = name in ("hook_embed", "hook_pos_embed")
            seen[name] = activation.detach().requires_grad_() if leaf else activation
            return seen[name]

        return keep

    with edited(model, {**edits, **{name: kept(name) for name in names}}, allow_nonfinite=True):
        logits = model(tokens)
    values = torch.autograd.grad((logits * read_out(logits)).sum(), [seen[name] for name in names])
    return dict(zip(names, values, strict=True))


def jacobian_off_the_logits(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of J x from the frozen model's logits less those of an empty stream, read out at random."""
    stream = activations(model, tokens, [START])[START][0]
    held = frozen(model, tokens)
    gradient = _gradient_at_the_start(model, tokens, held(), stream)
    ends = (stream, torch.zeros_like(stream))
    full, empty = (_metric(model, tokens, {**held(), START: lambda x, y=y: y}) for y in ends)
    terms = gradient.double() * stream.double()
    # As a share of what is summed: the sum itself may happen to be near zero.
    return float((terms.sum() - (full - empty)).abs() / terms.abs().sum().clamp(min=1e-300))


@torch.enable_grad()
def _gradient_at_the_start(
    model: Any, tokens: Int[Tensor, "batch pos"], edits: Mapping[str, Edit], stream: Tensor
) -> Tensor:
    leaf = stream.detach().requires_grad_()
    with edited(model, {**edits, START: lambda x: leaf + 0}, allow_nonfinite=True):
        logits = model(tokens)
    return torch.autograd.grad((logits * read_out(logits)).sum(), leaf)[0]


def cannot_freeze(model: Any) -> str | None:
    """The obstacle of a model that stays bent whatever is held, or that shows no point to hold it by."""
    if (getattr(model.cfg, "output_logits_soft_cap", None) or -1) > 0:
        return "a soft cap on the logits is not linear"
    lacking = [
        layer for layer in range(model.cfg.n_layers) if f"blocks.{layer}.attn.hook_pattern" not in model.hook_dict
    ]
    mlps = [i for i in range(model.cfg.n_layers) if f"blocks.{i}.hook_mlp_out" in model.hook_dict]
    if lacking or not all(_has_mlp(model, layer) for layer in mlps):
        return "patterns or neurons cannot be held: the model has no points there"
    return sixteen_bit(model)


INVARIANTS = (
    Invariant(
        "atp-frozen", "with patterns, scales and gates held, attribution patching is exact patching",
        attribution_off_the_frozen_patch, obstacle=cannot_freeze,
    ),
    Invariant(
        "jacobian-sum", "with patterns, scales and gates held, Jacobian times stream is the logits but for biases",
        jacobian_off_the_logits, obstacle=cannot_freeze,
    ),
)  # fmt: skip
