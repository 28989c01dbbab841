"""The exact engine: all cells in a few waves, each row computed only where a change reaches it and a metric reads it.

Seven reductions, all exact: a lane starts where its change is; it carries only the positions that the change reaches;
the last layer computes only what the metrics read; all lanes go through a layer together; cells that cannot matter are
not run; a changed head costs no attention where it is changed; and only the rows that are changed are projected to
queries, keys and values, the others being the base run's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..errors import MemoryBudgetError
from ..replacing import Change
from .changes import RowReplacement, looks_ahead, placed
from .cost import forward_flops, lane_bytes, layer_flops
from .lane_edits import Lane, LaneEdits
from .noise import noise_floor
from .plan import Plan, chunked, scaled
from .readout import BLOCK_BYTES, Readout
from .schedule import Reach, schedule, stages_of
from .wave import Wave

MOST_NUMBERS = {"cpu": 2**20, "cuda": 2**26}
"""Numbers in a wave's stream: enough for the matrix products to run at full speed, few enough for fast memory.

Other devices have not been measured, and are taken for what they are nearest to, a GPU.
"""


@dataclass(frozen=True, eq=False)
class Wavefront:
    """A sweep that is ready to run.

    Attributes:
        model: whose.
        context: what its attention knows of the run (`model.context_of(tokens)`).
        changes: what is changed, one after the other.
        replacements: by hook name, what stands in there, beside what stood there.
        base: by hook name, the activations of the run in which nothing is changed, as rows.
        readout: what the metrics read.
        frozen: points that keep the base run's activation whatever is changed.
        max_bytes: the memory that waves may take.
    """

    model: Any
    context: Any
    changes: Sequence[Change]
    replacements: Mapping[str, RowReplacement]
    base: Mapping[str, Shaped[Tensor, "prompt pos ..."]]
    readout: Readout
    frozen: Collection[str]
    max_bytes: int

    @cached_property
    def reach(self) -> Reach:
        """How far changes go."""
        cfg = self.model.cfg
        length = next(iter(self.base.values())).shape[1]
        mlp_reads = [block.mlp_reads for block in self.model.blocks]
        ahead = any(looks_ahead(name, given) for name, given in self.replacements.items())
        return Reach(cfg.attention_dir == "causal", self.readout.mask(length), mlp_reads, ahead)

    @cached_property
    def lanes(self) -> list[Lane]:
        """Every prompt with every change that can reach what is read of it, those with the same rows together."""
        found = []
        for number, change in enumerate(self.changes):
            edits = placed(change, self.replacements)
            touched = np.stack([edit.touched.any(axis=1) for edit in edits]).any(axis=0)
            # A metric of the whole batch moves on every prompt when one is changed.
            moved = np.full_like(touched, touched.any()) if self.readout.whole_batch else touched
            for prompt in np.flatnonzero(moved):
                found.append(Lane(number, int(prompt), tuple(edits)))
        if self.readout.whole_batch:
            return found
        return sorted(found, key=lambda lane: (lane.first_layer, lane.first_position, lane.change, lane.prompt))

    @cached_property
    def chunks(self) -> list[range]:
        """The lanes of each wave, by number.

        Raises:
            MemoryBudgetError: a single lane, or a single change where a metric needs all prompts at once, is too large.
        """
        # Behind the last block a wave's stream is still there, an eighth of what its layers took at most.
        least = self.readout.least_bytes + self.max_bytes // 8
        if least > self.max_bytes:
            raise MemoryBudgetError(
                f"the logits that the metrics read of {'all prompts' if self.readout.whole_batch else 'a prompt'} take "
                f"{scaled(self.readout.least_bytes, 'B')} of memory, and {scaled(self.max_bytes, 'B')} are left for a "
                "sweep; raise max_memory, or let the metric read fewer positions or tokens"
            )
        lanes = np.arange(len(self.lanes))
        together = np.array([lane.change for lane in self.lanes], dtype=int) if self.readout.whole_batch else lanes
        most = max(1, MOST_NUMBERS["cpu" if self.model.W_E.device.type == "cpu" else "cuda"] // self.model.cfg.d_model)
        return chunked(self._n_rows, self._sizes, together, most, self.max_bytes)

    @cached_property
    def _n_rows(self) -> Int[np.ndarray, " lane"]:
        first = np.array([lane.first_position for lane in self.lanes], dtype=int)
        every = np.full(len(first), len(self.reach.read))
        return np.maximum(self.reach.n_keys - first, 1) if self.reach.causal else every

    @cached_property
    def _sizes(self) -> Int[np.ndarray, " lane"]:
        return self._layer_bytes(self._n_rows)

    def _layer_bytes(self, n_rows: Int[np.ndarray, " lane"]) -> Int[np.ndarray, " lane"]:
        stages = {name.rpartition(".")[2] for name in [*self.replacements, *self.frozen]}
        itemsize, padded = self.model.W_E.element_size(), self.context.padding is not None
        return lane_bytes(n_rows, self.reach.n_keys, self.model.cfg, itemsize, stages, padded)

    @cached_property
    def plan(self) -> Plan:
        """What a run will cost."""
        cfg, n_prompts = self.model.cfg, len(self.readout.base)
        rows = flops = 0
        for chunk in self.chunks:
            layers = schedule(self._edits(chunk).touched, self.reach, len(chunk))
            rows += sum(int(at.post.sum()) for at in layers)
            flops += sum(layer_flops(at, cfg, self.reach.n_keys) for at in layers)
            flops += 2 * int(layers[-1].post.sum()) * cfg.d_model * self.readout.n_columns
        length = len(self.reach.read)
        return Plan(
            n_cells=len(self.changes),
            n_lanes=len(self.lanes),
            n_chunks=len(self.chunks),
            rows=rows,
            flops=flops,
            plain_flops=len(self.changes) * forward_flops(cfg, n_prompts, length),
            bytes=max((self._chunk_bytes(chunk) for chunk in self.chunks), default=0),
        )

    def _chunk_bytes(self, chunk: range) -> int:
        layers = int(self._sizes[list(chunk)].sum())
        together = 1 if self.readout.whole_batch else len(chunk)
        reading = min(together * self.readout.lane_bytes, BLOCK_BYTES, self.max_bytes * 7 // 8)
        return max(layers, layers // 8 + max(reading, self.readout.least_bytes))

    @property
    def units(self) -> list[tuple[int, int]]:
        """What is run by itself: a change and a prompt."""
        return [(lane.change, lane.prompt) for lane in self.lanes]

    @torch.no_grad()
    def part(self, chunk: range) -> Float[Tensor, "metric unit"]:
        """Each metric of these lanes."""
        stream, rows = self._wave.stream(self._edits(chunk))
        return self.readout.values(stream, rows, np.array([self.lanes[at].change for at in chunk]), self.max_bytes)

    @cached_property
    def noise_floor(self) -> Float[Tensor, "metric prompt"]:
        """How far the metrics of the unedited run move with how many rows are computed at once."""
        whole = int(self._layer_bytes(np.array([self.reach.n_keys]))[0])
        return noise_floor(self._wave, self.readout, max(1, self.max_bytes // whole), self.max_bytes)

    @cached_property
    def _wave(self) -> Wave:
        return Wave(self.model, self.context, self.base, self.reach, self.frozen)

    def _edits(self, chunk: range) -> LaneEdits:
        return LaneEdits([self.lanes[at] for at in chunk], self._by_place)

    @cached_property
    def _by_place(self) -> dict[tuple[int, str], RowReplacement]:
        return {place: given for name, given in self.replacements.items() if (place := stages_of(name)) is not None}
