"""Hooks that must matter: every point is edited, and the logits must change."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..bridge_points import is_bridge, past_the_mlp
from ..errors import DiscardedEditError, HookNeverFiredError
from ..hooks import edited
from ..other_weights import other_weights
from ..sites import Site, sites
from .invariant import EXACT, Bounded, Invariant
from .reading import deviation, sixteen_bit, window_of


def dead_points(model: Any, tokens: Int[Tensor, "batch pos"]) -> Bounded:
    """How many points can be edited without any change of the logits, under random weights of order one.

    Random weights, because a trained or compiled model may well ignore a point, and its code must not. Points of a
    bridge at which `edited` raises are told, and not counted: nobody takes them for edited.
    """
    with other_weights(model, _random_weights(model)):
        return _dead_points(model, _different_tokens(model, tokens))


def _dead_points(model: Any, tokens: Int[Tensor, "batch pos"]) -> Bounded:
    plain = model(tokens)
    live = set() if is_bridge(model) else _live_in_a_row(model, tokens[:1])
    dead: list[str] = []
    refused: list[str] = []
    for found in _one_name_each(model):
        if found.name in live:
            continue
        try:
            with edited(model, {found: _shaken(model)}, must_fire=is_bridge(model), allow_nonfinite=True):
                change = deviation(model(tokens), plain)
        except (HookNeverFiredError, DiscardedEditError):
            refused.append(found.name)
            continue
        if not _is_a_change(change, plain):
            dead.append(found.name)
    return Bounded(float(len(dead)), note=_told(model, dead, refused))


def _different_tokens(model: Any, tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "2 shorter"]:
    """Two short rows: where all tokens are the same, keys say the same, and no score matters."""
    length, vocabulary = min(6, tokens.shape[1]), model.cfg.d_vocab
    step = max(1, vocabulary // (2 * length))
    return (step * torch.arange(2 * length, device=tokens.device) % vocabulary).reshape(2, length)


def _live_in_a_row(model: Any, row: Int[Tensor, "1 pos"]) -> set[str]:
    """Points whose edit changes the logits, found many at a time: the same point of each block in a row of its own.

    Only of one kind at a time, so that no point seems to be alive because another one is looked at. What is not found
    here is to be run by itself: a point without an axis for prompts, or a dead one.
    """
    kinds: dict[str, list[Site]] = {}
    for found in _one_name_each(model):
        kinds.setdefault(_in_any_block(found.name), []).append(found)
    live = set()
    for alike in kinds.values():
        tokens = row.expand(len(alike), -1)
        plain = model(tokens)
        edits = {found: _shaken_in(model, at, len(alike)) for at, found in enumerate(alike)}
        with edited(model, edits, must_fire=False, allow_nonfinite=True):
            changed = model(tokens)
        changes = [deviation(*logits) for logits in zip(changed, plain, strict=True)]
        live |= {found.name for found, change in zip(alike, changes, strict=True) if _is_a_change(change, plain)}
    return live


def _shaken_in(model: Any, row: int, n_rows: int) -> Callable[[Shaped[Tensor, "..."]], Shaped[Tensor, "..."]]:
    shaken = _shaken(model)

    def one_row_shaken(activation: Tensor) -> Tensor:
        if activation.shape[0] != n_rows:
            return activation
        changed = activation.clone()
        changed[row] = shaken(activation[row])
        return changed

    return one_row_shaken


def _is_a_change(change: float, logits: Float[Tensor, "..."]) -> bool:
    """Whether logits that moved so far did so by more than rounding: looking at a point may turn off a fused kernel."""
    # Logits that are no numbers any more say nothing about whether the edit arrived whole.
    return math.isfinite(change) and change > min(100 * torch.finfo(logits.dtype).eps, 0.05)


def _one_name_each(model: Any) -> list[Site]:
    """Each point once, of whatever it is called; what a bridge calls the stream is asked beside the point itself."""
    points = model.hook_dict
    names: dict[object, Site] = {}
    for found in sites(model, "**"):
        names.setdefault((id(points[found.name]), past_the_mlp(model, found.name)), found)
    return list(names.values())


def _told(model: Any, dead: Sequence[str], refused: Sequence[str]) -> str:
    beside = [name for name in model.hook_dict if past_the_mlp(model, name) is not None]
    parts = {
        "edits change nothing at": dead,
        "the bridge never calls these points, or throws their edits away, and only interp says so:": refused,
        "the bridge's own hooks edit what the MLP reads and not the stream, which interp carries over:": beside,
    }
    return "; ".join(f"{said} {', '.join(_once(model, names))}" for said, names in parts.items() if names)


def _once(model: Any, names: Sequence[str]) -> list[str]:
    """The names, one for all blocks where it is the same in each of them."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_in_any_block(name), []).append(name)
    return [name for kind, alike in kinds.items() for name in ([kind] if len(alike) == model.cfg.n_layers else alike)]


def _in_any_block(name: str) -> str:
    return re.sub(r"^blocks\.\d+\.", "blocks.*.", name)


def _random_weights(model: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = {}
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if parameter.ndim > 1 and not name.rpartition(".")[2].startswith(("b_", "_b_")):
            noise = noise / parameter.shape[-2] ** 0.5
        elif name.endswith((".w", ".weight")):
            noise = 1 + 0.2 * noise
        drawn[name] = noise.to(parameter)
    return drawn


def _shaken(model: Any) -> Callable[[Shaped[Tensor, "..."]], Shaped[Tensor, "..."]]:
    generator = torch.Generator().manual_seed(1)

    def shaken(activation: Tensor) -> Tensor:
        if not activation.is_floating_point():
            return (activation + 1) % model.cfg.d_vocab
        # Factors and offsets are positive, so that scales stay positive and hidden scores stay hidden.
        factor, offset = torch.rand(2, *activation.shape, generator=generator, dtype=torch.float64).to(activation)
        return activation * (1 + factor) + offset

    return shaken


def changes_drown(model: Any) -> str | None:
    """The obstacle of 16-bit rounding, in which a small change drowns, or of a window of one key, with no choice."""
    drowned = sixteen_bit(model)
    if drowned is not None:
        return drowned
    windows = [window_of(model, layer) for layer in range(model.cfg.n_layers)]
    return "a window of one key makes every score irrelevant" if 1 in windows else None


INVARIANTS = (Invariant("points-live", "editing any hook point changes the logits", dead_points, EXACT, changes_drown),)
