"""The cells of a sweep: one for each layer and each index of the axes that tell them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from operator import index
from typing import Any

from .errors import AxisError, EmptyMatchError, OutOfRangeError
from .replacing import Change
from .sites import Cell, Site, site

POINTS = {
    **{name: f"blocks.*.hook_{name}" for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")},
    **{name: f"blocks.*.attn.hook_{name}" for name in ("z", "q", "k", "v", "pattern", "attn_scores")},
    "mlp_post": "blocks.*.mlp.hook_post",
}
"""Short names for the points of every block; any pattern of hook names will do as well."""

Place = Cell | tuple[str, Mapping[str, int]]
"""A cell, or a point with the indices that fix it, the layer among them: `("z", {"layer": 1, "head": 2})`."""


@dataclass(frozen=True)
class Grid:
    """Changes with coordinates.

    Attributes:
        axes: their names.
        coordinates: what the indices of each axis stand for.
        changes: in the order of the flattened axes.
    """

    axes: tuple[str, ...]
    coordinates: tuple[tuple[int | str, ...], ...]
    changes: tuple[Change, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many indices each axis has."""
        return tuple(len(of) for of in self.coordinates)


def grid(
    found: Sequence[Site],
    length: int,
    over: Sequence[str],
    only: Mapping[str, Sequence[int]],
    window: int,
    blocks: Mapping[str, int],
) -> Grid:
    """The cells of one point of each of several blocks.

    Args:
        found: the sites, in the order of the blocks.
        length: how many positions there are.
        over: the axes that tell cells apart: "layer", then axes of the point.
        only: of these axes only these indices; negative ones count from the end.
        window: so many blocks in a row are changed together; the first gives the cell its layer.
        blocks: of these axes so many indices in a row are changed together; the first gives the cell its coordinate.

    Raises:
        AxisError: axes that the point does not have, or named twice, or not beginning with "layer".
        OutOfRangeError: indices or a window that reach too far.
    """
    _check_axes(found, over, only, blocks)
    layers = [int(site.name.split(".")[1]) for site in found]
    if not 1 <= window <= len(found):
        raise OutOfRangeError(f"window={window} must be between 1 and the {len(found)} blocks that are swept")
    starts = range(len(found) - window + 1)
    if any(layers[at + window - 1] - layers[at] != window - 1 for at in starts):
        raise AxisError(f"a window of {window} needs blocks that follow one another, not {layers}")
    coordinates = [tuple(layers[at] for at in starts)]
    coordinates += [_along(found[0], axis, length, only.get(axis), blocks.get(axis, 1)) for axis in over[1:]]
    changes = []
    for at, *inside in product(starts, *coordinates[1:]):
        fixed = {axis: _fixed(first, axis, blocks) for axis, first in zip(over[1:], inside, strict=True)}
        changes.append(tuple(site.at(**fixed) for site in found[at : at + window]))
    return Grid(tuple(over), tuple(coordinates), tuple(changes))


def _along(site: Site, axis: str, length: int, only: Sequence[int] | None, block: int) -> tuple[int, ...]:
    site.index(**{axis: 0})
    # Only positions are left to the run.
    size = site.sizes[site.axes.index(axis)] or length
    if block < 1 or size % block:
        raise OutOfRangeError(f"blocks={{{axis!r}: {block}}} must divide the {size} of {site.name}")
    if isinstance(only, int):
        raise OutOfRangeError(f"only={{{axis!r}: {only}}} must be a list of indices, [{only}]")
    given = tuple(range(0, size, block) if only is None else map(index, only))
    if not given or any(not -size <= at < size for at in given):
        raise OutOfRangeError(f"only={{{axis!r}: {list(given)}}} must name some of 0 to {size - 1}")
    chosen = tuple(at % size for at in given)
    if len(set(chosen)) < len(chosen):
        raise OutOfRangeError(f"only={{{axis!r}: {list(given)}}} of {size} must name none twice")
    if any(at % block for at in chosen):
        raise OutOfRangeError(f"only={{{axis!r}: {list(chosen)}}} must name the first of blocks of {block}")
    return chosen


def _fixed(first: int, axis: str, blocks: Mapping[str, int]) -> int | slice:
    return slice(first, first + blocks[axis]) if axis in blocks else first


def sets_grid(model: Any, length: int, sets: Mapping[str, Sequence[Place]]) -> Grid:
    """One change for each set of places.

    Args:
        length: how many positions there are.

    Raises:
        EmptyMatchError: no set, or one without places.
        AxisError, OutOfRangeError, UnknownPointError: places that the model does not have, or named twice in a set.
    """
    if not sets or not all(sets.values()):
        empty = next((label for label, places in sets.items() if not places), None)
        raise EmptyMatchError("there is no set of places" if empty is None else f"the set {empty!r} has no places")
    changes = [tuple(_from_the_front(_cell(model, place), length) for place in places) for places in sets.values()]
    for label, change in zip(sets, changes, strict=True):
        twice = [str(cell) for at, cell in enumerate(change) if cell in change[:at]]
        if twice:
            raise AxisError(f"the set {label!r} names {twice[0]} twice")
    return Grid(("set",), (tuple(sets),), tuple(changes))


def _cell(model: Any, place: Place) -> Cell:
    match place:
        case Cell():
            return place
        case (str() as point, Mapping() as fixed):
            pass
        case _:
            raise AxisError(
                f"{place!r} is no place: a set is a list of cells, or of points with what fixes them, "
                "[('z', {'layer': 1, 'head': 2})]"
            )
    pattern = POINTS.get(point, point)
    if "*" in pattern and "layer" not in fixed:
        raise AxisError(f"{place} needs the layer: {{'layer': ..., ...}}")
    layer = fixed.get("layer")
    if layer is not None and not 0 <= layer < model.cfg.n_layers:
        raise OutOfRangeError(f"layer {layer} of {place} is outside 0 to {model.cfg.n_layers - 1}")
    inside = {axis: at for axis, at in fixed.items() if axis != "layer"}
    return site(model, pattern.replace("*", str(layer))).at(**inside)


def _from_the_front(cell: Cell, length: int) -> Cell:
    """The cell with its positions counted from the first, so that one place has one name."""
    fixed = [
        at + (size or length) if isinstance(at, int) and at < 0 and axis != "batch" else at
        for axis, size, at in zip(cell.site.axes, cell.site.sizes, cell.fixed, strict=False)
    ]
    return Cell(cell.site, tuple(fixed))


def _check_axes(
    found: Sequence[Site], over: Sequence[str], only: Mapping[str, Sequence[int]], blocks: Mapping[str, int]
) -> None:
    if not over or over[0] != "layer" or len(set(over)) != len(over):
        raise AxisError(f"over={tuple(over)} must begin with 'layer' and name each axis once")
    for name, given in (("only", only), ("blocks", blocks)):
        unused = sorted(set(given) - set(over[1:]))
        if unused:
            raise AxisError(f"{name} restricts {unused}, which over={tuple(over)} does not have as axes of the point")
    if not all(site.name.startswith("blocks.") for site in found):
        raise AxisError(f"{found[0].name} is in no block, so it has no layer to sweep over")
    layers = [site.name.split(".")[1] for site in found]
    if len(set(layers)) < len(found):
        raise AxisError(f"{found[0].name} and {found[1].name} are in one block; a sweep is over one point of each")
