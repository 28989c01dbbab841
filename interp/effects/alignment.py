"""What must fit before numbers are put beside one another: the parts of a result, and two results."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import AlignmentError

Coordinates = Sequence[int | str]


def require_fitting(sizes: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]]) -> None:
    """Nothing, if each part has the size that the others give it.

    Raises:
        AlignmentError: one has another.
    """
    for name, size in sizes.items():
        if list(size) != list(wanted[name]):
            raise AlignmentError(
                f"{name} has shape {list(size)}; the prompts and coordinates make it {list(wanted[name])}"
            )


def require_labels(axes: Sequence[str], coordinates: Sequence[Coordinates]) -> None:
    """Nothing, if each axis has one name, and no two of its indices stand for the same.

    Raises:
        AlignmentError: two axes, or two indices of one, could not be told apart.
    """
    if len(axes) != len(coordinates) or len(set(axes)) < len(axes):
        raise AlignmentError(f"the axes {list(axes)} must differ, each with its coordinates; there are those of "
                             f"{len(coordinates)} axes")  # fmt: skip
    for axis, along in zip(axes, coordinates, strict=True):
        twice = [at for number, at in enumerate(along) if at in along[:number]] if len(set(along)) < len(along) else []
        if twice or not along:
            raise AlignmentError(f"{axis} has {f'{twice[0]!r} twice' if twice else 'no coordinates'}; an index by "
                                 "coordinate must mean one cell")  # fmt: skip


def require_aligned(one: Any, other: Any) -> None:
    """Nothing, if two `Effects` are of the same cells, prompts, metric and direction, as far as both of them know.

    Raises:
        AlignmentError: they are not; the message says in what.
    """
    first, second = _facts(one), _facts(other)
    names = [name for name in {**first, **second} if name not in _IF_KNOWN or (first.get(name) and second.get(name))]
    differing = [
        f"{name}: {_short(first.get(name))} and {_short(second.get(name))}"
        for name in names
        if first.get(name) != second.get(name)
    ]
    if differing:
        raise AlignmentError(f"the effects do not align; {'; '.join(differing)}")


_IF_KNOWN = ("clean tokens", "corrupted tokens", "templates", "digest of clean tokens", "digest of corrupted tokens")


def _facts(effects: Any) -> dict[str, Any]:
    return {
        "metric": effects.metric,
        "direction": effects.direction,
        "axes": effects.axes,
        **{f"coordinates of {axis}": at for axis, at in zip(effects.axes, effects.coordinates, strict=True)},
        "selected": effects.fixed,
        "prompts": len(effects.values),
        "clean tokens": effects.tokens_clean,
        "corrupted tokens": effects.tokens_corrupted,
        "templates": effects.clusters,
        "digest of clean tokens": effects.provenance.get("clean"),
        "digest of corrupted tokens": effects.provenance.get("corrupted"),
    }


def listed(coordinates: Coordinates) -> str:
    """`0 to 11`, or all of them where they are not in a row."""
    first = coordinates[0]
    if isinstance(first, int) and list(coordinates) == list(range(first, first + len(coordinates))):
        return f"{first} to {coordinates[-1]}" if len(coordinates) > 1 else str(first)
    return ", ".join(map(repr, coordinates))


def _short(value: Any) -> str:
    if isinstance(value, tuple) and value and all(isinstance(at, int | str) for at in value):
        value = listed(value)
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
