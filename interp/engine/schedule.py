"""Which rows of each lane every step of a block must compute: what the changes reach, and the metric reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from .changes import STAGES
from .rows import Mask

Touched = Mapping[tuple[int, str], Mask]
"""By layer and stage, the rows of each lane that are changed there."""


@dataclass(frozen=True, eq=False)
class Reach:
    """How far a change can go, and what is looked at.

    Attributes:
        causal: a position sees no later one.
        read: the positions that the metrics read.
        mlp_reads: of each layer, the stream that its MLP reads: "resid_mid", "resid_pre", or "" without an MLP.
        ahead: a change lets a query see later keys all the same; these queries are among the changed rows.
    """

    causal: bool
    read: Bool[np.ndarray, " pos"]
    mlp_reads: Sequence[str]
    ahead: bool = False

    @property
    def n_layers(self) -> int:
        """How many blocks there are."""
        return len(self.mlp_reads)

    @property
    def n_keys(self) -> int:
        """How many positions can matter at all: with causal attention none behind the last that is read."""
        return int(self.read.nonzero()[0][-1]) + 1 if self.causal and not self.ahead else len(self.read)


@dataclass(frozen=True, eq=False)
class LayerRows:
    """The rows of one layer's steps: those whose value there may differ from the base run, as far as they matter.

    Attributes:
        layer: which.
        before: of the stream that comes from the layer below.
        pre: of the stream that the block reads.
        queries: of attention: the queries whose outcome may differ.
        z, attn_out, mid, neurons, mlp_out, post: of what comes after; each holds the one before, and what is changed
            there. Where the MLP reads the stream before attention, `neurons` and `mlp_out` start from `pre`.
        joined: of the sum of stream, attention and MLP.
    """

    layer: int
    before: Mask
    pre: Mask
    queries: Mask
    z: Mask
    attn_out: Mask
    mid: Mask
    neurons: Mask
    mlp_out: Mask
    joined: Mask
    post: Mask

    @property
    def any(self) -> bool:
        """Whether anything is computed in this layer at all."""
        return bool(self.pre.any() or self.post.any())


def schedule(touched: Touched, reach: Reach, n_lanes: int) -> list[LayerRows]:
    """The rows of every layer, from the first in which something is changed."""
    rows = np.zeros((n_lanes, len(reach.read)), dtype=bool)
    layers = []
    for layer in range(min(layer for layer, _ in touched), reach.n_layers):
        layers.append(_layer_rows(layer, rows, touched, reach))
        rows = layers[-1].post
    return layers


def _layer_rows(layer: int, before: Mask, touched: Touched, reach: Reach) -> LayerRows:
    last = layer == reach.n_layers - 1
    matters = np.arange(len(reach.read)) < reach.n_keys
    afterwards = reach.read if last else matters

    def with_touched(rows: Mask, *stages: str, within: Bool[np.ndarray, " pos"]) -> Mask:
        for stage in stages:
            if (layer, stage) in touched:
                rows = rows | (touched[layer, stage] & within)
        return rows

    pre = with_touched(before, "hook_resid_pre", within=matters)
    sources = with_touched(pre, "hook_k", "hook_v", within=matters)
    queries = _seeing(sources, reach.causal) & afterwards
    queries = with_touched(queries, "hook_q", "hook_attn_scores", "hook_pattern", within=afterwards)
    z = with_touched(queries, "hook_z", within=afterwards)
    attn_out = with_touched(z, "hook_attn_out", within=afterwards)
    mid = with_touched(attn_out, "hook_resid_mid", within=afterwards)
    parallel = reach.mlp_reads[layer] == "resid_pre"
    mlp_input = pre & afterwards if parallel else mid
    neurons = with_touched(mlp_input, "hook_post", within=afterwards)
    mlp_out = with_touched(neurons, "hook_mlp_out", within=afterwards)
    joined = mid | mlp_out
    post = with_touched(joined, "hook_resid_post", within=afterwards)
    return LayerRows(layer, before, pre, queries, z, attn_out, mid, neurons, mlp_out, joined, post)


def _seeing(sources: Mask, causal: bool) -> Mask:
    """The positions that see a changed key or value: it and all behind it, or all where attention goes both ways."""
    if causal:
        return np.logical_or.accumulate(sources, axis=1)
    return np.broadcast_to(sources.any(axis=1, keepdims=True), sources.shape).copy()


def stages_of(point: str) -> tuple[int, str] | None:
    """The layer and stage of a hook name; None for a point at which rows cannot be changed."""
    first, _, rest = point.partition(".")
    layer, _, inner = rest.partition(".")
    stage = inner.rpartition(".")[2]
    known = first == "blocks" and stage in STAGES and inner in _PLACES
    return (int(layer), stage) if known else None


_PLACES = {
    *(f"hook_{name}" for name in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")),
    *(f"attn.hook_{name}" for name in ("q", "k", "v", "attn_scores", "pattern", "z")),
    "mlp.hook_post",
}
