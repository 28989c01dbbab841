"""Sites: named places of the forward pass, whose axes have names, so that no index can mean another axis."""

import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, SupportsIndex

from jaxtyping import Shaped
from torch import Tensor

from .bridge_points import old_name
from .errors import (
    AxisError,
    EmptyMatchError,
    OutOfRangeError,
    PointOffError,
    ShapeError,
    UnknownPointError,
    did_you_mean,
)
from .protocol import HookedModel

Index = int | slice
Layers = int | slice | Iterable[int]


@dataclass(frozen=True)
class Site:
    """One named place in the forward pass.

    Attributes:
        name: the hook name, `blocks.3.attn.hook_z`.
        axes: the names of the activation's axes, in order; empty where they are not known.
        sizes: the length of each axis, None where it depends on the run (batch, pos, query, key).
    """

    name: str
    axes: tuple[str, ...] = ()
    sizes: tuple[int | None, ...] = ()

    def index(self, **fixed: SupportsIndex | slice) -> tuple[Index, ...]:
        """An index into the activation with the named axes fixed: `site.index(head=3, pos=slice(2, 5))`.

        Negative numbers count from the end, as everywhere in Python. A slice must lie within its axis.

        Raises:
            AxisError: the activation has no axis of that name, or its axes are not known.
            OutOfRangeError: an index or slice that reaches outside its axis, or a slice that selects nothing.
        """
        for axis in fixed:
            if axis not in self.axes:
                known = f"it has {', '.join(self.axes)}" if self.axes else "its axes are not known to this library"
                raise AxisError(f"{self.name} has no axis {axis!r}; {known}")
        chosen = tuple(_plain(fixed.get(axis, slice(None))) for axis in self.axes)
        for axis, size, at in zip(self.axes, self.sizes, chosen, strict=True):
            _check_range(f"{axis} of {self.name}", at, size)
        return chosen

    def at(self, **fixed: SupportsIndex | slice) -> "Cell":
        """The cell with the named axes fixed; without any, the whole activation.

        Raises:
            AxisError, OutOfRangeError: as `index`.
        """
        return Cell(self, self.index(**fixed) if fixed else ())


@dataclass(frozen=True)
class Cell:
    """A site with some axes fixed: what a sweep visits, and what an edit is given to change.

    Attributes:
        site: where.
        fixed: one index or slice for each axis of the site, or nothing for the whole activation.
    """

    site: Site
    fixed: tuple[Index, ...] = ()

    @property
    def name(self) -> str:
        """The hook name."""
        return self.site.name

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of what is selected: those that are not fixed to one number."""
        if not self.fixed:
            return self.site.axes
        return tuple(axis for axis, at in zip(self.site.axes, self.fixed, strict=True) if isinstance(at, slice))

    def __hash__(self) -> int:
        # Slices cannot be hashed before Python 3.12.
        return hash((self.site, str(self)))

    def __str__(self) -> str:
        chosen = [
            f"{axis}={_shown(at)}" for axis, at in zip(self.site.axes, self.fixed, strict=False) if at != slice(None)
        ]
        return f"{self.name}[{', '.join(chosen)}]" if chosen else self.name

    def read(self, activation: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*selected"]:
        """The selected part of the site's activation, a view of it.

        Raises:
            ShapeError: an activation that does not have the site's axes.
            OutOfRangeError: an index outside an axis whose length only the run decides (batch, pos).
        """
        if not self.fixed:
            return activation
        expected = self.site.sizes
        fits = activation.ndim == len(expected) and all(
            size in (None, n) for size, n in zip(expected, activation.shape, strict=True)
        )
        if not fits:
            shape = " ".join(f"{axis}={size or '?'}" for axis, size in zip(self.site.axes, expected, strict=True))
            raise ShapeError(f"the activation at {self.name} has shape {list(activation.shape)}, not ({shape})")
        for axis, size, at in zip(self.site.axes, activation.shape, self.fixed, strict=True):
            _check_range(f"{axis} of {self.name}", at, size)
        return activation[self.fixed]

    def written(
        self, activation: Shaped[Tensor, "*axes"], value: Shaped[Tensor, "*selected"]
    ) -> Shaped[Tensor, "*axes"]:
        """A copy of the activation in which the selected part is the value."""
        if not self.fixed:
            return value
        copy = activation.clone()
        copy[self.fixed] = value
        return copy


def site(model: HookedModel, name: str) -> Site:
    """The site of that name; TransformerBridge's own name of a place is known as well.

    Raises:
        UnknownPointError: the model has no such hook point; the message names the nearest.
        PointOffError: the configuration has switched it off, and it would never fire.
    """
    points = model.hook_dict
    if name not in points:
        known_as = old_name(name, *_mlp_and_norms(points))
        if known_as not in points:
            raise UnknownPointError(name, points)
        name = known_as
    switch = _switched_off_by(model, name, points[name])
    if switch is not None:
        raise PointOffError(f"{name} is off and would never fire; call model.set_{switch}(True) first")
    axes = getattr(points[name], "axes", None) or _axes_by_name(name)
    return Site(name, tuple(axes), tuple(_size(model.cfg, axis) for axis in axes))


def sites(model: HookedModel, pattern: str, *, layers: Layers | None = None, allow_empty: bool = False) -> list[Site]:
    """The sites whose names match, in the order of the forward pass.

    `*` stands for any text between two dots, `**` for any text at all: `blocks.*.attn.hook_z`. Points that the
    configuration has switched off are left out, unless nothing else matches.

    Args:
        layers: only these blocks: a number, a range or a slice; negative ones count from the last.

    Raises:
        EmptyMatchError: nothing matches, and `allow_empty` is not set.
        PointOffError: only points that are switched off match.
        OutOfRangeError: a layer the model does not have, also as the end of a slice.
    """
    chosen = None if layers is None else _layers(layers, model.cfg.n_layers)
    points = model.hook_dict
    named = _matching(points, pattern, chosen) or _matching(points, old_name(pattern, *_mlp_and_norms(points)), chosen)
    found = [name for name in named if _switched_off_by(model, name, points[name]) is None]
    if found or (allow_empty and not named):
        return [site(model, name) for name in found]
    if named:
        site(model, named[0])
    where = "" if chosen is None else f" in layers {sorted(chosen)}"
    near = did_you_mean(pattern.replace("*", "0"), points)
    raise EmptyMatchError(f"{pattern!r} matches none of the {len(points)} hook points{where}.{near}")


def _matching(points: Iterable[str], pattern: str, layers: set[int] | None) -> list[str]:
    matches = re.compile(re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^.]*")).fullmatch
    return [name for name in points if matches(name) and (layers is None or _layer(name) in layers)]


def _mlp_and_norms(points: Iterable[str]) -> tuple[bool, bool]:
    """Whether the MLPs have gates, and whether norms stand behind the layers."""
    names = list(points)
    return any(name.endswith("mlp.hook_pre_linear") for name in names), any(".ln1_post." in name for name in names)


def _plain(at: SupportsIndex | slice) -> Index:
    # Takes NumPy's and torch's whole numbers, and refuses 1.0.
    return at if isinstance(at, slice) else operator.index(at)


def _check_range(what: str, at: Index, size: int | None) -> None:
    if size is None:
        return
    if isinstance(at, slice):
        ends = [end for end in (at.start, at.stop) if end is not None]
        if any(not -size <= end <= size for end in ends):
            raise OutOfRangeError(f"{_shown(at)} is outside {what}, whose slices run from 0 to {size}")
        if not range(size)[at]:
            raise OutOfRangeError(f"{_shown(at)} selects nothing of {what}, which has {size}")
    elif not -size <= at < size:
        raise OutOfRangeError(f"{at} is outside {what}, which runs from 0 to {size - 1}")


def _shown(at: Index) -> str:
    if not isinstance(at, slice):
        return str(at)
    parts = [at.start, at.stop] if at.step is None else [at.start, at.stop, at.step]
    return ":".join("" if part is None else str(part) for part in parts)


def _layers(layers: Layers, n_layers: int) -> set[int]:
    chosen = [layers] if isinstance(layers, int | slice) else list(layers)
    if not chosen:
        raise EmptyMatchError("layers names no layer")
    for at in chosen:
        _check_range("the layers", at, n_layers)
    picked = [range(n_layers)[at] for at in chosen]
    return {layer for one in picked for layer in ([one] if isinstance(one, int) else one)}


def _layer(name: str) -> int | None:
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blocks" else None


_SWITCHES = {
    "hook_result": "use_attn_result",
    "hook_q_input": "use_split_qkv_input",
    "hook_k_input": "use_split_qkv_input",
    "hook_v_input": "use_split_qkv_input",
    "hook_attn_in": "use_attn_in",
    "hook_mlp_in": "use_hook_mlp_in",
}
"""Which config field turns a point on, for models whose points do not say so themselves."""


def _switched_off_by(model: HookedModel, name: str, point: Any) -> str | None:
    if hasattr(point, "enabled"):
        return None if point.enabled else point.switch
    switch = _SWITCHES.get(name.rpartition(".")[2])
    return switch if switch is not None and not getattr(model.cfg, switch, False) else None


_STREAM = ("batch", "pos", "d_model")
_HEADS = ("batch", "pos", "head", "d_head")
_GROUPS = ("batch", "pos", "kv_head", "d_head")
_SCORES = ("batch", "head", "query", "key")
_AXES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("hook_embed", "hook_pos_embed", "hook_resid_pre", "hook_resid_mid", "hook_resid_post"), _STREAM),
    **dict.fromkeys(("hook_attn_out", "hook_mlp_out", "hook_mlp_in", "hook_normalized"), _STREAM),
    **dict.fromkeys(("hook_q", "hook_rot_q", "hook_z"), _HEADS),
    **dict.fromkeys(("hook_k", "hook_v", "hook_rot_k"), _GROUPS),
    **dict.fromkeys(("hook_attn_scores", "hook_pattern"), _SCORES),
    **dict.fromkeys(("hook_result", "hook_q_input", "hook_attn_in"), ("batch", "pos", "head", "d_model")),
    **dict.fromkeys(("hook_k_input", "hook_v_input"), ("batch", "pos", "kv_head", "d_model")),
    **dict.fromkeys(("hook_pre", "hook_pre_linear", "hook_post"), ("batch", "pos", "d_mlp")),
    "hook_scale": ("batch", "pos", "1"),
}
"""The axes of TransformerLens' points by the last part of the name, for models whose points do not say so."""


def _axes_by_name(name: str) -> tuple[str, ...]:
    # The norms of queries and keys fire with positions before heads in some bridges, behind them in others.
    known = not name.endswith(
        (".q_norm.hook_scale", ".q_norm.hook_normalized", ".k_norm.hook_scale", ".k_norm.hook_normalized")
    )
    return _AXES.get(old_name(name, gated=True).rpartition(".")[2], ()) if known else ()


def _size(cfg: Any, axis: str) -> int | None:
    match axis:
        case "head":
            return cfg.n_heads
        case "kv_head":
            ungrouped = getattr(cfg, "ungroup_grouped_query_attention", False)
            return cfg.n_heads if ungrouped else getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
        case "1":
            return 1
        case "batch" | "pos" | "query" | "key":
            return None
    return getattr(cfg, axis)
