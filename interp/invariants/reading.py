"""What several invariants read off a model, through its hooks, its config and the weights of its blocks."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ..biases import bias
from ..bridge_points import of_transformers, window
from ..hooks import edited


def activations(
    model: Any, tokens: Int[Tensor, "batch pos"], names: Iterable[str], must_fire: bool = True
) -> dict[str, list[Shaped[Tensor, "..."]]]:
    """What each point was given in one forward pass: one entry for each time it fired."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}
    with edited(model, {name: _reader(kept) for name, kept in seen.items()}, must_fire=must_fire, allow_nonfinite=True):
        model(tokens)
    return seen


def _reader(kept: list[Tensor]) -> Any:
    def read(activation: Tensor) -> Tensor:
        kept.append(activation)
        return activation

    return read


def by_layer(model: Any, tokens: Int[Tensor, "batch pos"], *points: str) -> list[tuple[Float[Tensor, "..."], ...]]:
    """For each layer, the activations at these points of its block, in float64."""
    layers = range(model.cfg.n_layers)
    seen = activations(model, tokens, [f"blocks.{layer}.{point}" for layer in layers for point in points])
    return [tuple(seen[f"blocks.{layer}.{point}"][0].double() for point in points) for layer in layers]


class Located(float):
    """A deviation that knows where it was found."""

    where: str

    @classmethod
    def at(cls, error: float, where: str) -> "Located":
        """The deviation with its place, more exactly where the deviation itself knows it."""
        found = cls(error)
        found.where = f"{where}, {inner}" if (inner := getattr(error, "where", "")) else where
        return found


def deviation(got: Float[Tensor, "*axes"], expected: Float[Tensor, "*axes"], axes: str = "") -> float:
    """max |got - expected|, as a share of the largest |expected| unless that is zero.

    Args:
        axes: the names of all axes, with which the place of the largest difference is said; an axis named _ is not.
    """
    got, expected = got.double(), expected.double()
    if not got.numel():
        return 0.0
    largest, difference = float(expected.abs().max()), (got - expected).abs()
    error = float(difference.max()) / (largest if largest > 0 else 1.0)
    if not axes:
        return error
    # NaN counts as the largest.
    index = torch.unravel_index(difference.argmax(), difference.shape)
    named = zip(axes.split(), index, strict=True)
    return Located.at(error, ", ".join(f"{name} {int(at)}" for name, at in named if name != "_"))


def worst(errors: Iterable[float] | Mapping[str, float]) -> float:
    """The largest error, with its place where the errors have places; NaN if one is NaN, which `max` would lose."""
    if not isinstance(errors, Mapping):
        return float(torch.tensor([0.0, *errors], dtype=torch.float64).max())
    if not errors:
        return 0.0
    place = list(errors)[int(torch.tensor(list(errors.values()), dtype=torch.float64).argmax())]
    return Located.at(errors[place], place)


def in_layers(errors: Iterable[float]) -> dict[str, float]:
    """An error of each layer, by the name of its block."""
    return {f"blocks.{layer}": error for layer, error in enumerate(errors)}


def other_tokens(model: Any, tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """Other tokens: each one's successor in the vocabulary."""
    return (tokens + 1) % model.cfg.d_vocab


def attention_input(model: Any, layer: int, resid_pre: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "..."]:
    """What a layer's queries, keys and values are made of, in float64: the stream, behind the norm before attention.

    Post-norm blocks have their norms elsewhere, and OLMo 2's block has none before attention at all.
    """
    block = model.blocks[layer]
    if post_norm(model) or not hasattr(block, "ln1"):
        return resid_pre
    return block.ln1(resid_pre.to(model.cfg.dtype)).double()


def head_weights(model: Any, layer: int, name: str) -> Float[Tensor, "head ..."]:
    """W_Q, W_K, W_V, W_O, b_Q, b_K or b_V of a layer in float64, one for each query head."""
    attention = model.blocks[layer].attn
    if name.startswith("b_"):
        weight = bias(attention, name, getattr(attention, name.replace("b", "W", 1)))
    else:
        weight = getattr(attention, name).detach().double()
    return weight.repeat_interleave(model.cfg.n_heads // weight.shape[0], dim=0)


def soft_capped(x: Float[Tensor, "*axes"], cap: float | None) -> Float[Tensor, "*axes"]:
    """cap * tanh(x / cap), or x where there is no cap."""
    return cap * torch.tanh(x / cap) if cap is not None and cap > 0 else x


def visible(model: Any, layer: int, length: int) -> Bool[Tensor, "query key"]:
    """Which key each query may look at, by the config."""
    distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    seen = distance >= 0 if is_causal(model) else torch.ones(length, length, dtype=torch.bool)
    window = window_of(model, layer)
    return (seen if window is None else seen & (distance.abs() < window)).to(model.cfg.device or "cpu")


def window_of(model: Any, layer: int) -> int | None:
    """The local window of a layer, or None where it sees everything its mask allows."""
    if of_transformers(model):
        return window(model, layer)
    cfg = model.cfg
    local = getattr(cfg, "use_local_attn", False) and cfg.attn_types and cfg.attn_types[layer] == "local"
    return cfg.window_size if local else None


def is_causal(model: Any) -> bool:
    """Whether no position sees a later one."""
    return getattr(model.cfg, "attention_dir", "causal") == "causal"


def post_norm(model: Any) -> bool:
    """Whether the norms stand in the stream itself."""
    return getattr(model.cfg, "norm_placement", "pre") == "post"


def positions(model: Any) -> str:
    """How the model knows positions: standard, rotary, shortformer or none."""
    return getattr(model.cfg, "positional_embedding_type", "standard") or "none"


def norms_queries(model: Any) -> bool:
    """Whether queries and keys are normed before their product."""
    attention = model.blocks[0].attn
    return bool(getattr(model.cfg, "use_qk_norm", False)) or getattr(attention, "q_norm", None) is not None


def with_read_positions(model: Any, normed: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
    """What queries and keys read: shortformer positions, counted from 0, are added behind the norm."""
    if positions(model) != "shortformer":
        return normed
    return normed + model.pos_embed.W_pos.detach().double()[: normed.shape[1]]


def not_causal(model: Any) -> str | None:
    """The obstacle of a bidirectional model."""
    return None if is_causal(model) else "attention is bidirectional: earlier positions see later ones"


def stream_is_normalised(model: Any) -> str | None:
    """The obstacle of a post-norm model."""
    return "post-norm blocks normalise the stream itself, so it is not a sum" if post_norm(model) else None


def sixteen_bit(model: Any) -> str | None:
    """The obstacle of 16-bit rounding, in which a difference of logits drowns."""
    if model.cfg.dtype in (torch.float16, torch.bfloat16):
        return f"{model.cfg.dtype} rounds small changes away; ask a copy of the model in float32 or float64"
    return None


def not_double(model: Any) -> str | None:
    """The obstacle of any rounding coarser than float64's."""
    if model.cfg.dtype != torch.float64:
        return f"{model.cfg.dtype} rounds a remainder of second order away; ask a copy of the model in float64"
    return None
