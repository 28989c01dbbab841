"""One attention score as a sum over pairs of writers: what the query reads of one, times what the key reads of another.

The score of query i and key j is (W_Q^T N(x_i) + b_Q) (W_K^T N(x_j) + b_K) / scale. At the scale that the norm N had,
both factors are sums over the components of `interp.residual`, the norm's bias and b_Q or b_K, hence the score is a sum
over pairs of them. Rotary positions turn each factor by its own position, which is linear.

Source: Elhage et al. (2021), "Q- and K-composition".
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .biases import bias
from .bridge_points import is_bridge
from .errors import NotASumError, OutOfRangeError, ShapeError
from .frozen_norm import FrozenNorm, frozen_norm, scale_point
from .residual import SHARE_OF_ROUNDING, Write, writes, writing_points


@dataclass(frozen=True, eq=False)
class ScoreTerms:
    """The scores of one query of each prompt, taken apart.

    Attributes:
        query_writers: the components on the query's side, last the norm's bias and b_Q.
        key_writers: those on the key's side, last the norm's bias and b_K.
        terms: each pair's part of the score (before a soft cap), whatever the mask says.
        visible: the keys that the query may look at.
        scores: the model's own scores of that query, behind the soft cap where there is one.
        pattern: the model's own attention of that query.
        dropped: pairs whose part is the same for every key, so that softmax drops it.
        soft_cap: the cap of the scores, 0 for none.
    """

    query_writers: tuple[str, ...]
    key_writers: tuple[str, ...]
    terms: Float[Tensor, "batch query_writer key_writer key"]
    visible: Bool[Tensor, "batch key"]
    scores: Float[Tensor, "batch key"]
    pattern: Float[Tensor, "batch key"]
    dropped: Bool[Tensor, " key_writer"]
    soft_cap: float

    def summed(self) -> Float[Tensor, "batch key"]:
        """The sum of the terms behind the soft cap: the score."""
        total = self.terms.sum(dim=(1, 2))
        return self.soft_cap * torch.tanh(total / self.soft_cap) if self.soft_cap > 0 else total

    def centred(self) -> Float[Tensor, "batch query_writer key_writer key"]:
        """The terms less their mean over the visible keys: the part of them that softmax sees."""
        seen = self.visible[:, None, None]
        mean = (self.terms * seen).sum(dim=-1, keepdim=True) / seen.sum(dim=-1, keepdim=True)
        return self.terms - mean

    def against_others(self, key: Int[Tensor, " batch"]) -> Float[Tensor, "batch query_writer key_writer"]:
        """The terms of one key of each prompt, less their mean over the other visible keys."""
        rows = torch.arange(len(key), device=key.device)
        own = self.terms[rows, :, :, key]
        others = self.visible.clone()
        others[rows, key] = False
        seen = others[:, None, None]
        return own - (self.terms * seen).sum(dim=-1) / seen.sum(dim=-1)


@torch.no_grad()
def score_terms(
    model: Any, tokens: Int[Tensor, "batch pos"], layer: int, head: int, queries: Int[Tensor, " batch"]
) -> ScoreTerms:
    """The scores of one head at one query position of each prompt, by pair of writers, in float64.

    Raises:
        NotASumError: post-norm blocks, queries and keys that are normed, positions that enter in an unknown way; a
            bridge whose terms sum to something else.
        OutOfRangeError: a layer, head or position that is not there.
    """
    _check(model, tokens, layer, head, queries)
    stream, attention = f"blocks.{layer}.hook_resid_pre", f"blocks.{layer}.attn"
    seen = [f"{attention}.hook_attn_scores", f"{attention}.hook_pattern"]
    names = [*writing_points(model, stream), *scale_point(model, f"blocks.{layer}.ln1"), *seen]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    recorded = dict(cache)
    norm = frozen_norm(model, recorded, f"blocks.{layer}.ln1")
    parts = writes(model, recorded, stream)
    values = torch.stack([norm.linear(part.value()) for part in parts])
    rows = torch.arange(len(tokens), device=tokens.device)
    places = torch.arange(tokens.shape[1], device=tokens.device)
    query = _projected(model, layer, head, "Q", values[:, rows, queries][:, :, None], norm, queries[:, None])
    key = _projected(model, layer, head, "K", values, norm, places[None])
    scores, pattern = (recorded[name][rows, head, queries].double() for name in seen)
    visible = scores > torch.finfo(recorded[seen[0]].dtype).min
    if getattr(model.cfg, "attention_dir", "causal") == "causal":
        # TransformerLens' native bridge records the pattern in the place of the scores, which hides no key.
        visible = visible & (places <= queries[:, None])
    labels = (*(part.label for part in parts), "norm bias")
    cap = float(getattr(model.cfg, "attn_scores_soft_cap", None) or 0.0)
    found = ScoreTerms(
        (*labels, "b_Q"),
        (*labels, "b_K"),
        torch.einsum("ube,vbke->buvk", query[:, :, 0], key) / _scale(model, layer),
        visible,
        scores,
        pattern,
        _dropped(model, parts, norm, cap),
        max(cap, 0.0),
    )
    _require_the_pattern(model, found)
    return found


def _require_the_pattern(model: Any, found: ScoreTerms) -> None:
    # A bridge's config need not say all that its attention does. Its scores may be patterns, so the pattern is asked.
    if not is_bridge(model):
        return
    pattern = found.summed().masked_fill(~found.visible, -torch.inf).softmax(dim=-1)
    off = float((pattern - found.pattern).abs().max())
    # Written so that NaN does not pass.
    if not off <= SHARE_OF_ROUNDING * torch.finfo(model.cfg.dtype).eps:
        raise NotASumError(
            f"the terms do not sum to the scores of this bridge: its pattern is off by {off:.1e}; its attention scales "
            "scores or turns queries and keys in a way that its config does not say"
        )


def _projected(
    model: Any,
    layer: int,
    head: int,
    side: str,
    values: Float[Tensor, "writer batch pos d_model"],
    norm: FrozenNorm,
    positions: Int[Tensor, "#batch pos"],
) -> Float[Tensor, "writer_and_biases batch pos d_head"]:
    """What the head's query or key reads of each writer, of the norm's bias, and its own bias, turned by position."""
    W, b = (_of_head(model, layer, head, f"{kind}_{side}") for kind in ("W", "b"))
    biases = torch.stack([norm.bias @ W, b])[:, None, None].expand(-1, *values.shape[1:3], -1)
    read = torch.cat([values @ W, biases])
    if model.cfg.positional_embedding_type != "rotary":
        return read
    return _turned(read, positions, _frequencies(model, layer), model.cfg.rotary_adjacent_pairs)


def _of_head(model: Any, layer: int, head: int, name: str) -> Float[Tensor, "..."]:
    # Grouped heads share keys: there are fewer matrices than heads.
    attention = model.blocks[layer].attn
    if name.startswith("b_"):
        weight = bias(attention, name, getattr(attention, name.replace("b", "W", 1)))
    else:
        weight = getattr(attention, name).detach().double()
    return weight[head * weight.shape[0] // model.cfg.n_heads]


def _turned(
    x: Float[Tensor, "writer batch pos d_head"],
    positions: Int[Tensor, "#batch pos"],
    frequencies: Float[Tensor, " pair"],
    adjacent: bool,
) -> Float[Tensor, "writer batch pos d_head"]:
    angles = positions[..., None].double() * frequencies.to(x.device)
    turned, rest = x[..., : 2 * len(frequencies)], x[..., 2 * len(frequencies) :]
    first, second = (turned[..., ::2], turned[..., 1::2]) if adjacent else turned.chunk(2, dim=-1)
    pair = (first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin())
    turned = torch.stack(pair, dim=-1).flatten(-2) if adjacent else torch.cat(pair, dim=-1)
    return torch.cat([turned, rest], dim=-1)


def _frequencies(model: Any, layer: int) -> Float[Tensor, " pair"]:
    """By how much each pair is turned from one position to the next; a bridge's are powers of its base."""
    find = getattr(getattr(model.blocks[layer].attn, "rotary", None), "frequencies", None)
    if find is not None:
        return find(torch.float64)
    cfg = model.cfg
    # A bridge need not say that all dimensions are turned.
    turned = cfg.rotary_dim or cfg.d_head
    return 1 / cfg.rotary_base ** (torch.arange(0, turned, 2, dtype=torch.float64) / turned)


def _scale(model: Any, layer: int) -> float:
    cfg = model.cfg
    scale = (cfg.attn_scale if cfg.attn_scale > 0 else math.sqrt(cfg.d_head)) if cfg.use_attn_scale else 1.0
    return scale * (layer + 1) if getattr(cfg, "scale_attn_by_inverse_layer_idx", False) else scale


def _dropped(model: Any, parts: tuple[Write, ...], norm: FrozenNorm, cap: float) -> Bool[Tensor, " key_writer"]:
    """Which key writers say the same at every key: biases, unless a norm, a rotation or a cap tells keys apart."""
    turned = model.cfg.positional_embedding_type == "rotary"
    same = [
        part.kind == "bias" and norm.scale.numel() == 1 and (part.norm is None or part.norm.scale.numel() == 1)
        for part in parts
    ]
    return torch.tensor([not turned and cap <= 0 and constant for constant in (*same, True, True)])


def require_bilinear(model: Any) -> None:
    """Nothing, if the scores are a bilinear form of what attention reads.

    Raises:
        NotASumError: queries and keys that are normed, or positions that enter the scores in an unknown way.
    """
    cfg = model.cfg
    attention = model.blocks[0].attn
    norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
    if getattr(cfg, "use_qk_norm", False) or any(norm is not None for norm in norms):
        raise NotASumError("queries and keys are normed before their product, which makes a score no sum")
    kind = getattr(cfg, "positional_embedding_type", "standard") or "none"
    known = hasattr(getattr(attention, "rotary", None), "frequencies") or not _scaled(cfg)
    rotary = kind == "rotary" and hasattr(cfg, "rotary_adjacent_pairs") and known
    if kind not in ("standard", "none") and not rotary:
        raise NotASumError(f"{kind} positions enter the scores in a way this library does not know")


def _scaled(cfg: Any) -> bool:
    """Whether angles are not powers of one base alone."""
    scaled = any(getattr(cfg, name, False) for name in ("use_NTK_by_parts_rope", "use_yarn_rope", "rotary_base_local"))
    return scaled or getattr(cfg, "rotary_scaling_factor", 1.0) != 1.0


def _check(model: Any, tokens: Tensor, layer: int, head: int, queries: Tensor) -> None:
    require_bilinear(model)
    for name, given, size in (("layer", layer, model.cfg.n_layers), ("head", head, model.cfg.n_heads)):
        if not 0 <= given < size:
            raise OutOfRangeError(f"{name} {given} is not there: the model has {size}, counted from 0")
    if queries.shape != tokens.shape[:1]:
        raise ShapeError(f"{list(queries.shape)} queries for {tokens.shape[0]} prompts: one position each is needed")
    low, high = (int(end) for end in queries.aminmax())
    if low < 0 or high >= tokens.shape[1]:
        raise OutOfRangeError(f"queries range from {low} to {high}; the prompts have {tokens.shape[1]} positions")
