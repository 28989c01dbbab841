"""Cells by what they are called: layer 3 is the layer that the model calls 3, wherever it stands in the grid."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..errors import AxisError, EmptyMatchError, OutOfRangeError
from .alignment import Coordinates, listed


@dataclass(frozen=True)
class Selection:
    """Some cells of a grid.

    Attributes:
        axes: the axes that are left.
        coordinates: what is left of each.
        fixed: the axes that are gone, each with its one coordinate.
        places: where on each axis of the whole grid: one place, which drops the axis, or several.
    """

    axes: tuple[str, ...]
    coordinates: tuple[tuple[int | str, ...], ...]
    fixed: tuple[tuple[str, int | str], ...]
    places: tuple[int | list[int], ...]

    def of(self, values: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """The values at the selected cells; the last axes of a tensor are those of the grid."""
        first = values.ndim - len(self.places)
        # From the last axis on: dropping one does not move those before it.
        for dim, place in reversed(list(enumerate(self.places, start=first))):
            index = torch.tensor(place, device=values.device)
            values = values.select(dim, int(index)) if index.ndim == 0 else values.index_select(dim, index)
        return values


def select(axes: Sequence[str], coordinates: Sequence[Coordinates], chosen: Mapping[str, Any]) -> Selection:
    """The cells with these coordinates; all of an axis that is not named.

    Raises:
        AxisError: no such axis.
        OutOfRangeError: a coordinate that the axis does not have, or a slice that reaches beyond them.
        EmptyMatchError: nothing is chosen.
    """
    for axis in chosen:
        if axis not in axes:
            raise AxisError(f"there is no axis {axis!r} to select from; there are {', '.join(axes) or 'none'}")
    along = dict(zip(axes, coordinates, strict=True))
    places = {axis: _places(axis, of, chosen.get(axis, slice(None))) for axis, of in along.items()}
    kept = {axis: place for axis, place in places.items() if isinstance(place, list)}
    return Selection(
        axes=tuple(kept),
        coordinates=tuple(tuple(along[axis][at] for at in place) for axis, place in kept.items()),
        fixed=tuple((axis, along[axis][at]) for axis, at in places.items() if isinstance(at, int)),
        places=tuple(places.values()),
    )


def _places(axis: str, coordinates: Coordinates, chosen: Any) -> int | list[int]:
    if chosen == slice(None):
        return list(range(len(coordinates)))
    if isinstance(chosen, slice):
        return _between(axis, coordinates, chosen)
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        return _place(axis, coordinates, chosen)
    if not chosen:
        raise EmptyMatchError(f"{axis}=[] selects nothing; there are {listed(coordinates)}")
    return [_place(axis, coordinates, one) for one in chosen]


def _place(axis: str, coordinates: Coordinates, chosen: Any) -> int:
    # Takes NumPy's and torch's whole numbers, and refuses 1.0.
    wanted = chosen if isinstance(chosen, str) else operator.index(chosen)
    if wanted not in coordinates:
        raise OutOfRangeError(f"{axis} has no {wanted!r}; it has {listed(coordinates)}")
    return coordinates.index(wanted)


def _between(axis: str, coordinates: Coordinates, chosen: slice) -> list[int]:
    numbers = [at for at in coordinates if isinstance(at, int)]
    if len(numbers) < len(coordinates) or chosen.step is not None:
        raise OutOfRangeError(f"{axis}={chosen} needs coordinates that are numbers, and no step; name them in a list")
    least, beyond = min(numbers), max(numbers) + 1
    start = least if chosen.start is None else operator.index(chosen.start)
    stop = beyond if chosen.stop is None else operator.index(chosen.stop)
    if not (least <= start <= beyond and least <= stop <= beyond):
        raise OutOfRangeError(f"{axis}={start}:{stop} reaches beyond {listed(coordinates)}")
    found = [place for place, at in enumerate(numbers) if start <= at < stop]
    if not found:
        raise EmptyMatchError(f"{axis}={start}:{stop} selects nothing of {listed(coordinates)}")
    return found
