"""Packed rows: of many lanes, each a prompt with something changed, only the positions that are carried.

A set of rows is a mask [lane, position]; packed, its rows stand in the order of lanes, then of positions.
"""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

Mask = Bool[np.ndarray, "lane pos"]
Numbers = Int[np.ndarray, " number"]


class Rows:
    """Some positions of each lane."""

    def __init__(self, mask: Mask, prompts: Int[np.ndarray, " lane"], device: torch.device) -> None:
        """Rows of these lanes.

        Args:
            mask: which positions of each lane.
            prompts: the prompt of each lane.
            device: where the packed rows live.
        """
        self.mask = mask
        self.prompts = prompts
        self.device = device
        self.lane, self.position = mask.nonzero()

    def __len__(self) -> int:
        return len(self.lane)

    def with_mask(self, mask: Mask) -> "Rows":
        """Other positions of the same lanes; itself where they are the same."""
        return self if mask is self.mask or np.array_equal(mask, self.mask) else Rows(mask, self.prompts, self.device)

    def index(self, numbers: Numbers) -> Int[Tensor, " number"]:
        """The numbers as an index on the device."""
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)

    def within(self, lanes: Numbers, positions: Numbers) -> Numbers:
        """Where these rows stand among the packed ones."""
        return self._order[lanes, positions]

    @cached_property
    def _order(self) -> Int[np.ndarray, "lane pos"]:
        return self.mask.cumsum().reshape(self.mask.shape) - 1

    @cached_property
    def prompt_index(self) -> Int[Tensor, " row"]:
        """Each row's prompt."""
        return self.index(self.prompts[self.lane])

    @cached_property
    def position_index(self) -> Int[Tensor, " row"]:
        """Each row's position."""
        return self.index(self.position)

    def of(self, base: Shaped[Tensor, "prompt pos ..."]) -> Shaped[Tensor, "row ..."]:
        """The rows of the run in which nothing was changed."""
        return base[self.prompt_index, self.position_index]

    def taken(self, packed: Shaped[Tensor, "row ..."], numbers: Numbers) -> Shaped[Tensor, "number ..."]:
        """Some of the packed rows: a view where they stand together."""
        n = len(numbers)
        if n and numbers[-1] - numbers[0] == n - 1 and (n == 1 or bool((np.diff(numbers) == 1).all())):
            return packed.narrow(0, int(numbers[0]), n)
        return packed[self.index(numbers)]

    def carried(
        self, packed: Shaped[Tensor, "row ..."], before: "Rows", base: Shaped[Tensor, "prompt pos ..."] | None
    ) -> Shaped[Tensor, "carried ..."]:
        """These rows: taken from others where they hold them, else from the run in which nothing was changed.

        Args:
            before: which rows are packed.
            base: that run; it is not needed where `before` holds every row.
        """
        if before is self:
            return packed
        lanes, positions = (self.mask & before.mask).nonzero()
        kept = self.taken(packed, before.within(lanes, positions))
        if len(lanes) == len(self):
            return kept
        if base is None:
            raise ValueError("rows join that the base run did not keep")
        joined = self.of(base)
        joined[self.index(self.within(lanes, positions))] = kept
        return joined
