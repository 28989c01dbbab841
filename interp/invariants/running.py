"""Ways of running a model that must not matter: padding, caches, stops, batches, who looks; and hooks that must."""

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.func import functional_call

from ..bridge_points import is_bridge, past_the_mlp
from ..errors import DiscardedEditError, HookNeverFiredError
from ..hooks import edited
from ..sites import Site, sites
from .invariant import EXACT, Bounded, Invariant
from .reading import deviation, not_causal, other_tokens, sixteen_bit, window_of, worst


def effect_on_the_past(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits before a token when that token is another."""
    plain, length = model(tokens), tokens.shape[1]
    errors = []
    for position in sorted({1, length // 2, length - 1}):
        changed = tokens.clone()
        changed[:, position] = other_tokens(model, tokens)[:, position]
        errors.append(deviation(model(changed)[:, :position], plain[:, :position]))
    return worst(errors)


def effect_of_looking(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when every point is hooked, so that nothing is fused."""
    everywhere = {found: lambda activation: activation for found in sites(model, "**")}
    with edited(model, everywhere, must_fire=False, allow_nonfinite=True):
        observed = model(tokens)
    return deviation(observed, model(tokens))


def dead_points(model: Any, tokens: Int[Tensor, "batch pos"]) -> Bounded:
    """How many points can be edited without any change of the logits, under random weights of order one.

    Random weights, because a trained or compiled model may well ignore a point, and its code must not. Points of a
    bridge at which `edited` raises are told, and not counted: nobody takes them for edited.
    """
    weights = _random_weights(model)
    tokens = tokens[:2, :6]
    plain = functional_call(model, weights, (tokens,))
    # Looking at a point may itself change the last digits, because the forward takes an unfused road.
    rounding = min(100 * torch.finfo(plain.dtype).eps, 0.05)
    dead: list[str] = []
    refused: list[str] = []
    for found in _one_name_each(model):
        try:
            with edited(model, {found: _shaken(model)}, must_fire=is_bridge(model), allow_nonfinite=True):
                change = deviation(functional_call(model, weights, (tokens,)), plain)
        except (HookNeverFiredError, DiscardedEditError):
            refused.append(found.name)
            continue
        # Logits that are no numbers any more say nothing about whether the edit arrived whole.
        if not (math.isfinite(change) and change > rounding):
            dead.append(found.name)
    return Bounded(float(len(dead)), note=_told(model, dead, refused))


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
    return "; ".join(f"{said} {', '.join(_in_any_block(names))}" for said, names in parts.items() if names)


def _in_any_block(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(re.sub(r"^blocks\.\d+\.", "blocks.*.", name) for name in names))


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


def effect_of_padding(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits at real tokens when two padded ones stand before or behind them."""
    tokens = tokens[:, : model.cfg.n_ctx - 2]
    plain = model(tokens)
    padding = torch.zeros_like(tokens[:, :2])
    real, none = torch.ones_like(tokens), torch.zeros_like(padding)
    left = model(torch.cat([padding, tokens], 1), attention_mask=torch.cat([none, real], 1))[:, 2:]
    right = model(torch.cat([tokens, padding], 1), attention_mask=torch.cat([real, none], 1))[:, :-2]
    return worst([deviation(left, plain), deviation(right, plain)])


def no_room_for_padding(model: Any) -> str | None:
    """The obstacle of a model that takes no mask, or whose context has no room for padding."""
    if model.cfg.n_ctx < 3:
        return f"a context of {model.cfg.n_ctx} has no room for padding"
    return _takes(model, "attention_mask")


def effect_of_the_cache(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when they are computed a token at a time, or in two parts, with a key-value cache."""
    # Imported here because TransformerLens takes seconds to import, and nothing else in the library needs it.
    from transformer_lens import TransformerLensKeyValueCache

    plain, errors, cfg = model(tokens), [], model.cfg
    if getattr(cfg, "ungroup_grouped_query_attention", False):
        # Ungrouped, keys and values are made once a query head, and must be cached so.
        cfg = replace(cfg, n_key_value_heads=None, ungroup_grouped_query_attention=False)
    for stretches in (tokens.split(1, dim=1), tokens.split([tokens.shape[1] - 1, 1], dim=1)):
        cache = TransformerLensKeyValueCache.init_cache(cfg, plain.device, tokens.shape[0])
        logits = torch.cat([model(stretch, past_kv_cache=cache) for stretch in stretches], dim=1)
        errors.append(deviation(logits, plain))
    return worst(errors)


def cannot_cache(model: Any) -> str | None:
    """The obstacle of a model without a key-value cache, or whose past is not settled."""
    return not_causal(model) or _takes(model, "past_kv_cache")


def effect_of_a_stop(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when the run is stopped before a layer and taken up again there."""
    plain = model(tokens)
    return worst(
        deviation(model(model(tokens, stop_at_layer=layer), start_at_layer=layer), plain)
        for layer in range(model.cfg.n_layers)
    )


def cannot_stop(model: Any) -> str | None:
    """The obstacle of a model that can only run whole."""
    return _takes(model, "stop_at_layer") or _takes(model, "start_at_layer")


def effect_of_the_batch(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of a prompt's logits when other prompts run beside it."""
    together = model(torch.cat([tokens, other_tokens(model, tokens)]))
    return worst(deviation(together[i : i + 1], model(tokens[i : i + 1])) for i in range(len(tokens)))


def _takes(model: Any, argument: str) -> str | None:
    known = argument in inspect.signature(model.forward).parameters
    return None if known else f"the model's forward takes no {argument}"


INVARIANTS = (
    Invariant("causality", "a token leaves the logits before it unchanged", effect_on_the_past, obstacle=not_causal),
    Invariant(
        "looking", "logits are the same whether anybody looks (materialised) or nobody (fused)", effect_of_looking
    ),
    Invariant("points-live", "editing any hook point changes the logits", dead_points, EXACT, changes_drown),
    Invariant(
        "padding",
        "padding leaves the logits of the real tokens unchanged",
        effect_of_padding,
        obstacle=no_room_for_padding,
    ),
    Invariant(
        "kv-cache", "a key-value cache gives the logits of a whole run", effect_of_the_cache, obstacle=cannot_cache
    ),
    Invariant(
        "stop-start",
        "a run stopped and taken up again gives the logits of a whole run",
        effect_of_a_stop,
        obstacle=cannot_stop,
    ),
    Invariant("batch", "a prompt's logits do not depend on the prompts beside it", effect_of_the_batch),
)
