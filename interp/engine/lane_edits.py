"""Edits of packed rows: for every lane of a wave what it changes, put in place for all lanes at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from .changes import PlacedEdit, RowReplacement
from .rows import Mask, Rows
from .schedule import Touched


@dataclass(frozen=True, eq=False)
class Lane:
    """One prompt with one change in it.

    Attributes:
        change: the number of the change.
        prompt: the number of the prompt.
        edits: what is changed.
    """

    change: int
    prompt: int
    edits: tuple[PlacedEdit, ...]

    @property
    def first_layer(self) -> int:
        """The block in which the prompt's run is first another."""
        return min(edit.layer for edit in self.edits if edit.touched[self.prompt].any())

    @property
    def first_position(self) -> int:
        """The position before which nothing can be another; the number of positions where nothing is."""
        touched = [edit.touched[self.prompt] for edit in self.edits]
        return min((int(rows.argmax()) for rows in touched if rows.any()), default=len(touched[0]))


@dataclass(frozen=True, eq=False)
class Round:
    """Edits at one point, at most one a lane: several of one lane act one after the other.

    Attributes:
        lanes: whose they are.
        selected: the positions that each selects.
        ranges: the first and the end of what each selects on every further axis.
    """

    lanes: Int[np.ndarray, " edit"]
    selected: Bool[np.ndarray, "edit pos"]
    ranges: Int[np.ndarray, "edit axis 2"]


class LaneEdits:
    """What the lanes of one wave change, by layer and stage."""

    def __init__(self, lanes: Sequence[Lane], replacements: Mapping[tuple[int, str], RowReplacement]) -> None:
        """The edits of these lanes.

        Args:
            replacements: by layer and stage, the values that stand in there.
        """
        self.prompts = np.array([lane.prompt for lane in lanes])
        self.replacements = replacements
        collected: dict[tuple[int, str], list[list[tuple[int, PlacedEdit]]]] = {}
        for number, lane in enumerate(lanes):
            times: dict[tuple[int, str], int] = {}
            for edit in lane.edits:
                place = (edit.layer, edit.stage)
                rounds = collected.setdefault(place, [])
                at = times[place] = times.get(place, -1) + 1
                if at == len(rounds):
                    rounds.append([])
                rounds[at].append((number, edit))
        self._rounds = {place: [_round(edits) for edits in rounds] for place, rounds in collected.items()}
        self._touched = {place: self._mask(rounds) for place, rounds in collected.items()}

    @property
    def touched(self) -> Touched:
        """The rows that are changed, by layer and stage."""
        return self._touched

    def any_of(self, layer: int, stage: str, lanes: Int[np.ndarray, " lane"]) -> bool:
        """Whether any of these lanes changes something there."""
        return any(bool(np.isin(lanes, one.lanes).any()) for one in self._rounds.get((layer, stage), ()))

    def applied(
        self,
        layer: int,
        stage: str,
        packed: Shaped[Tensor, "row ..."],
        rows: Rows,
        lanes: Int[np.ndarray, " lane"] | None = None,
    ) -> Shaped[Tensor, "row ..."]:
        """The packed rows with what the lanes change there; itself where they change nothing.

        Args:
            rows: which rows these are.
            lanes: the lanes of `rows` by their number in the wave, where they are only some.
        """
        if (layer, stage) not in self._rounds:
            return packed
        replacement = self.replacements[layer, stage]
        packed = packed.clone()
        for one in self._rounds[layer, stage]:
            number, local = _meeting(one.lanes, lanes)
            mask = np.zeros_like(rows.mask)
            mask[local] = one.selected[number, : mask.shape[1]]
            lane, position = (mask & rows.mask).nonzero()
            if not len(lane):
                continue
            edit = np.empty(len(mask), dtype=int)
            edit[local] = number
            at = rows.index(rows.within(lane, position))
            values = replacement.values[rows.index(rows.prompts[lane]), rows.index(position)]
            values = values[(slice(None), *(slice(size) for size in packed.shape[1:]))]
            before = packed[at]
            inside = _inside(one.ranges[edit[lane]], packed.shape[1:], packed.device)
            new = before + values if replacement.added else values
            packed[at] = new if inside is None else torch.where(inside, new, before)
        return packed

    def _mask(self, rounds: Sequence[Sequence[tuple[int, PlacedEdit]]]) -> Mask:
        length = len(rounds[0][0][1].selected)
        mask = np.zeros((len(self.prompts), length), dtype=bool)
        for edits in rounds:
            for number, edit in edits:
                mask[number] |= edit.touched[self.prompts[number]]
        return mask


def _round(edits: Sequence[tuple[int, PlacedEdit]]) -> Round:
    return Round(
        np.array([number for number, _ in edits]),
        np.stack([edit.selected for _, edit in edits]),
        np.array([edit.ranges for _, edit in edits], dtype=int).reshape(len(edits), -1, 2),
    )


def _meeting(
    edited: Int[np.ndarray, " edit"], lanes: Int[np.ndarray, " lane"] | None
) -> tuple[Int[np.ndarray, " both"], Int[np.ndarray, " both"]]:
    """The numbers of the edits whose lanes are there, and where those stand among the lanes."""
    if lanes is None:
        return np.arange(len(edited)), edited
    _, number, local = np.intersect1d(edited, lanes, assume_unique=True, return_indices=True)
    return number, local


def _inside(
    ranges: Int[np.ndarray, "row axis 2"], sizes: Sequence[int], device: torch.device
) -> Bool[Tensor, "row ..."] | None:
    """True within each row's ranges; None where they are everything."""
    inside = None
    for axis, size in enumerate(sizes):
        first, end = ranges[:, axis, 0], ranges[:, axis, 1]
        if bool(((first == 0) & (end >= size)).all()):
            continue
        ends = torch.from_numpy(np.stack([first, end])).to(device)
        along = torch.arange(size, device=device)
        within = (along >= ends[0][:, None]) & (along < ends[1][:, None])
        shape = [len(ranges), *(size if other == axis else 1 for other in range(len(sizes)))]
        within = within.reshape(shape)
        inside = within if inside is None else inside & within
    return inside
