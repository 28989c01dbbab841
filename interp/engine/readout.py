"""From the stream of changed rows to the metrics: only the logits that are read are computed."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..metrics import Metric
from .rows import Rows

BLOCK_BYTES = 2**29
"""Of logits and of what metrics make of them, so much is held at once: more would only take memory."""

WORKING_COPIES = 8
"""As many times what it reads, in float64, a metric holds at most, what it reads included."""


class Readout:
    """What the metrics read of every prompt, in the run in which nothing is changed."""

    def __init__(self, model: Any, metrics: Sequence[Metric], logits: Float[Tensor, "prompt pos d_vocab"]) -> None:
        """The readout of these metrics.

        Args:
            logits: of the run in which nothing is changed.
        """
        length = logits.shape[1]
        self.model = model
        self.metrics = metrics
        wanted = [range(length) if m.positions is None else [at % length for at in m.positions] for m in metrics]
        self.positions = sorted({at for positions in wanted for at in positions})
        self._at = [[self.positions.index(at) for at in positions] for positions in wanted]
        columns = [m.columns for m in metrics]
        self.columns: Int[Tensor, "prompt column"] | None = None
        if all(one is not None for one in columns):
            self.columns = torch.cat([one.to(logits.device) for one in columns if one is not None], dim=1)
        read = logits[:, self.positions]
        if self.columns is not None:
            read = read.gather(2, self.columns[:, None].expand(-1, len(self.positions), -1))
        self.base = read.double()

    @property
    def whole_batch(self) -> bool:
        """Whether a metric must be given all prompts at once."""
        everybody = torch.zeros(1, dtype=torch.long)
        return any(metric.for_prompts(everybody) is None for metric in self.metrics)

    def mask(self, length: int) -> Bool[np.ndarray, " pos"]:
        """The positions that are read."""
        read = np.zeros(length, dtype=bool)
        read[self.positions] = True
        return read

    @property
    def n_columns(self) -> int:
        """How many logits are read of each position."""
        return self.base.shape[2]

    @torch.no_grad()
    def values(
        self, stream: Float[Tensor, "row d_model"], rows: Rows, changes: Int[np.ndarray, " lane"], max_bytes: int
    ) -> Float[Tensor, "metric lane"]:
        """Each metric of each lane.

        Args:
            stream: behind the last block, the rows that differ from the base run.
            changes: the change of each lane; those of one change stand together.
            max_bytes: what may be held at once, the stream included.
        """
        n_lanes = len(rows.prompts)
        most = max(1, min(BLOCK_BYTES, max_bytes - stream.nbytes) // self.lane_bytes)
        ends = [*range(0, n_lanes, most), n_lanes]
        if self.whole_batch:
            ends = [*np.flatnonzero(np.diff(changes, prepend=-1)).tolist(), n_lanes]
        blocks = [self._block(stream, rows, a, b) for a, b in pairwise(ends)]
        return torch.cat(blocks, dim=1)

    def _block(
        self, stream: Float[Tensor, "row d_model"], rows: Rows, first: int, end: int
    ) -> Float[Tensor, "metric some"]:
        start, stop = np.searchsorted(rows.lane, [first, end])
        prompts = rows.index(rows.prompts[first:end])
        logits = self._logits(stream[start:stop], rows.prompt_index[start:stop]).double()
        at = np.searchsorted(self.positions, rows.position[start:stop])
        if self.whole_batch:
            read = self.base.clone()
            read[rows.prompt_index[start:stop], rows.index(at)] = logits
        elif len(at) == (end - first) * len(self.positions):
            # Nothing is left of the base run: as large as all logits, it need not be copied.
            read = logits.unflatten(0, (end - first, len(self.positions)))
        else:
            read = self.base[prompts]
            read[rows.index(rows.lane[start:stop] - first), rows.index(at)] = logits
        if self.whole_batch:
            return torch.stack([self._of(number, metric, read)[prompts] for number, metric in enumerate(self.metrics)])
        values = []
        for number, metric in enumerate(self.metrics):
            mine = metric.for_prompts(prompts.cpu())
            if mine is None:
                raise ValueError(f"{metric.name} needs all prompts at once")
            values.append(self._of(number, mine, read))
        return torch.stack(values)

    def unchanged(self) -> Float[Tensor, "metric prompt"]:
        """Each metric of the run in which nothing is changed."""
        return torch.stack([self._of(number, metric, self.base) for number, metric in enumerate(self.metrics)])

    @property
    def lane_bytes(self) -> int:
        """The memory that a lane takes while it is read."""
        itemsize = self.model.W_E.element_size()
        a_column = WORKING_COPIES * 8 + itemsize
        if self.columns is not None:
            # Each row's own columns of the unembedding, gathered and laid out for the product.
            a_column += 2 * self.model.cfg.d_model * itemsize
        return len(self.positions) * (self.n_columns * a_column + 4 * self.model.cfg.d_model * itemsize)

    @property
    def least_bytes(self) -> int:
        """The memory that the readout needs at least: a lane's, or that of all prompts where a metric reads all."""
        return self.lane_bytes * (len(self.base) if self.whole_batch else 1)

    def _of(self, number: int, metric: Metric, read: Float[Tensor, "prompt read column"]) -> Float[Tensor, " prompt"]:
        if self._at[number] != list(range(len(self.positions))):
            read = read[:, self._at[number]]
        own = self.metrics[number].columns
        if self.columns is None and own is not None:
            columns = metric.columns
            if columns is None:
                raise ValueError(f"{metric.name} has lost its columns")
            read = read.gather(2, columns.to(read.device)[:, None].expand(-1, read.shape[1], -1))
        elif own is not None:
            before = sum(one.columns.shape[1] for one in self.metrics[:number] if one.columns is not None)
            read = read[:, :, before : before + own.shape[1]]
        return metric.of(read).to(read.device)

    def _logits(
        self, stream: Float[Tensor, "row d_model"], prompts: Int[Tensor, " row"]
    ) -> Float[Tensor, "row column"]:
        if self.columns is None:
            return self.model.logits_of(stream[None])[0]
        return self.model.some_logits_of(stream, self.columns[prompts])
