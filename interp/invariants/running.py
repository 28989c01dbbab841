"""Ways of running a model that must not matter: padding, caches, stops, batches, and who looks."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..bridge_points import of_transformers
from ..hooks import edited
from ..sites import sites
from .invariant import Invariant
from .reading import deviation, not_causal, other_tokens, worst


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
    plain = model(tokens)
    cached = _by_transformers if of_transformers(model) else _by_transformerlens
    cuts = (tokens.split(1, dim=1), tokens.split([tokens.shape[1] - 1, 1], dim=1))
    return worst(deviation(torch.cat(list(cached(model, stretches)), dim=1), plain) for stretches in cuts)


def _by_transformerlens(
    model: Any, stretches: Sequence[Int[Tensor, "batch _"]]
) -> Iterator[Float[Tensor, "batch _ d_vocab"]]:
    # Imported here because TransformerLens takes seconds to import, and nothing else in the library needs it.
    from transformer_lens import TransformerLensKeyValueCache

    cfg = model.cfg
    if getattr(cfg, "ungroup_grouped_query_attention", False):
        # Ungrouped, keys and values are made once a query head, and must be cached so.
        cfg = replace(cfg, n_key_value_heads=None, ungroup_grouped_query_attention=False)
    cache = TransformerLensKeyValueCache.init_cache(cfg, stretches[0].device, len(stretches[0]))
    for stretch in stretches:
        yield model(stretch, past_kv_cache=cache)


def _by_transformers(
    bridge: Any, stretches: Sequence[Int[Tensor, "batch _"]]
) -> Iterator[Float[Tensor, "batch _ d_vocab"]]:
    past = None
    for stretch in stretches:
        logits, past = bridge(stretch, past_key_values=past, use_cache=True, return_type="logits_and_cache")
        yield logits


def cannot_cache(model: Any) -> str | None:
    """The obstacle of a model without a key-value cache, or whose past is not settled."""
    return not_causal(model) or _takes(model, "past_key_values" if of_transformers(model) else "past_kv_cache")


def effect_of_a_stop(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when the run is stopped before a layer and taken up again there."""
    plain = model(tokens)
    return worst(
        {
            f"a run stopped before blocks.{layer}": deviation(
                model(model(tokens, stop_at_layer=layer), start_at_layer=layer), plain
            )
            for layer in range(model.cfg.n_layers)
        }
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
