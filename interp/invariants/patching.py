"""What patching must do where its effect is known beforehand."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..hooks import Edit, PlaceT, edited
from ..interventions import patch
from ..sites import site, sites
from .invariant import Invariant
from .reading import activations, deviation, not_causal, other_tokens, worst
from .stream import embeddings, writers


def patched_logits(
    model: Any, tokens: Int[Tensor, "batch pos"], values: Mapping[PlaceT, list[Shaped[Tensor, "..."]]]
) -> Float[Tensor, "batch pos d_vocab"]:
    """The logits with the n-th value at each place where it fires for the n-th time."""
    with edited(model, {place: replayed(each) for place, each in values.items()}, allow_nonfinite=True):
        return model(tokens)


def replayed(values: list[Shaped[Tensor, "..."]]) -> Edit:
    """The edit that puts the n-th value in place where it acts for the n-th time."""
    remaining = iter(values)
    return lambda activation: patch(next(remaining))(activation)


def self_patch_effect(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when every point is given its own value."""
    own = activations(model, tokens, [found.name for found in sites(model, "**")], must_fire=False)
    fired = {name: values for name, values in own.items() if values}
    return deviation(patched_logits(model, tokens, fired), model(tokens))


def patch_everything_misses(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation from another run's logits when its whole stream, or all that was written into it, is patched in."""
    other = other_tokens(model, tokens)
    layers = range(model.cfg.n_layers)
    streams = [f"blocks.{layer}.hook_resid_{place}" for layer in layers for place in ("pre", "post")]
    written = [*embeddings(model), *(name for layer in layers for name in writers(model, layer))]
    values = activations(model, other, [*streams, *written])
    expected = model(other)
    patches = [[name] for name in streams] + [written]
    return worst(
        deviation(patched_logits(model, tokens, {name: values[name] for name in names}), expected) for names in patches
    )


def effect_before_the_patch(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits before a patched position, for each layer's stream and a position in the middle."""
    position = tokens.shape[1] // 2
    plain = model(tokens)
    errors = []
    for layer in range(model.cfg.n_layers):
        cell = site(model, f"blocks.{layer}.hook_resid_pre").at(pos=position)
        other = activations(model, other_tokens(model, tokens), [cell.name])[cell.name][0]
        logits = patched_logits(model, tokens, {cell: [cell.read(other)]})
        errors.append(deviation(logits[:, :position], plain[:, :position]))
    return worst(errors)


INVARIANTS = (
    Invariant("self-patch", "patching every point with its own value changes nothing", self_patch_effect),
    Invariant(
        "patch-all",
        "patching the whole stream at any layer, or all that is written into it, gives the other run",
        patch_everything_misses,
    ),
    Invariant(
        "locality",
        "a patch at a position leaves the logits before it unchanged",
        effect_before_the_patch,
        obstacle=not_causal,
    ),
)
