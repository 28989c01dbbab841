"""What `interp sweep` takes beyond what other commands take, each checked before a model is loaded."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from interp.grid import POINTS
from interp.sites import Layers
from interp.tasks import TASKS, Task, read_task

from ..errors import did_you_mean

AXES = ("layer", "pos", "head", "kv_head", "query", "key", "d_mlp", "d_head", "d_model")
"""The axes of the points of a block, by which cells can be told apart."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


class TaskArgument(click.ParamType):
    """A built-in task's name, or the task of a file."""

    name = "task"

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """What could have been given."""
        return f"Give one of {', '.join(TASKS)}, or a .json or .csv file of prompt pairs."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Task:
        """The name, or the pairs of the file.

        Raises:
            TaskFileError: the file is not what it should be.
        """
        if isinstance(value, Task) or value in TASKS:
            return value
        path = Path(value).expanduser()
        if path.suffix.lower() in (".json", ".csv") or path.exists():
            try:
                return read_task(path)
            except OSError as error:
                self.fail(f"{value!r} cannot be read: {error.strerror}", param, ctx)
        nearest = did_you_mean(value, TASKS) or f" There are {', '.join(TASKS)}."
        self.fail(f"no task is called {value!r}, and there is no such file.{nearest}", param, ctx)


class PointName(click.ParamType):
    """A short name of a point of every block, or a pattern of hook names."""

    name = "point"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; a usage error with the nearest names if it is neither. Only a model knows its hook names."""
        if value not in POINTS and not re.search(r"(^|\.)hook_", value):
            nearest = did_you_mean(value, POINTS) or f" There are {', '.join(POINTS)}."
            self.fail(f"no point is called {value!r}.{nearest} Or give hook names: blocks.*.hook_…", param, ctx)
        return str(value)


class Names(click.ParamType):
    """Names with commas between them, each one of those that are known; by default none."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        """The names of a kind.

        Args:
            name: what one of them is called.
            known: all that there are.
        """
        self.name = name
        self.known = list(known)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names in their order; a usage error with the nearest ones for the first that is not known."""
        if isinstance(value, tuple) or not value:
            return tuple(value)
        names = tuple(word.strip() for word in value.split(","))
        for one in names:
            if one not in self.known:
                nearest = did_you_mean(one, self.known) or f" There are {', '.join(self.known)}."
                self.fail(f"no {self.name} is called {one!r}.{nearest}", param, ctx)
            if names.count(one) > 1:
                self.fail(f"{one!r} is named twice", param, ctx)
        return names


class LayersArgument(click.ParamType):
    """Blocks: `2`, `0,3` or `0:3`, which ends before block 3; negative ones count from the last."""

    name = "layers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Layers:
        """The numbers, or the slice."""
        if not isinstance(value, str):
            return value
        between = re.fullmatch(r"\s*(-?\d*)\s*:\s*(-?\d*)\s*", value)
        if between:
            start, stop = (int(end) if end else None for end in between.groups())
            return slice(start, stop)
        try:
            return [int(word) for word in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} names no blocks; give 2, 0,3 or 0:3", param, ctx)


class Indices(click.ParamType):
    """An axis and some of its indices: `pos=4,5` or `pos=4:8`."""

    name = "axis=indices"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, list[int]]:
        """The axis and the indices."""
        if isinstance(value, tuple):
            return value
        axis, text = _axis_and_rest(self, value, "pos=4,5 or pos=4:8", param, ctx)
        between = re.fullmatch(r"(\d+):(\d+)", text)
        if between:
            found = list(range(int(between[1]), int(between[2])))
        else:
            words = [word.strip() for word in text.split(",")]
            found = [int(word) for word in words if word.isdecimal()]
            if len(found) < len(words):
                self.fail(f"{text!r} are no indices; give {axis}=4,5 or {axis}=4:8, counted from 0", param, ctx)
        if not found:
            self.fail(f"{value!r} selects nothing", param, ctx)
        return axis, found


class BlockSize(click.ParamType):
    """An axis and how many of its indices are changed together: `d_mlp=64`."""

    name = "axis=n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """The axis and the number."""
        if isinstance(value, tuple):
            return value
        axis, text = _axis_and_rest(self, value, "d_mlp=64", param, ctx)
        if not text.isdecimal() or not int(text):
            self.fail(f"{text!r} is no number of neighbours; give {axis}=64", param, ctx)
        return axis, int(text)


class Memory(click.ParamType):
    """A number of bytes: `2GB`, `500MB`, `1.5GiB`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes."""
        if isinstance(value, int):
            return value
        read = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", value.strip().upper())
        found = int(float(read[1]) * _UNITS[read[2]]) if read and read[2] in _UNITS else 0
        if not found:
            self.fail(f"{value!r} is no amount of memory; give bytes, 500MB or 1.5GiB", param, ctx)
        return found


def _axis_and_rest(
    kind: click.ParamType, value: str, like: str, param: click.Parameter | None, ctx: click.Context | None
) -> tuple[str, str]:
    axis, equals, rest = value.partition("=")
    axis = axis.strip()
    if not equals:
        kind.fail(f"{value!r} must be an axis, = and numbers, like {like}", param, ctx)
    if axis not in AXES:
        nearest = did_you_mean(axis, AXES) or f" There are {', '.join(AXES)}."
        kind.fail(f"no axis is called {axis!r}.{nearest}", param, ctx)
    return axis, rest.strip()
