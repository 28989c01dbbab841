"""What a sweep will cost, told before it is run, and how it is cut to fit."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from ..errors import MemoryBudgetError


@dataclass(frozen=True)
class Plan:
    """The work of a sweep.

    Attributes:
        n_cells: cells that are asked for and can matter.
        n_lanes: of these, prompts on which they change anything: each is run once.
        n_chunks: waves, run one after the other.
        rows: streams of one position through one layer, over all lanes and layers.
        flops: floating-point operations of the matrix products.
        plain_flops: those of one whole forward pass for each cell.
        bytes: the memory of the largest wave, beside the model and the base run.
    """

    n_cells: int
    n_lanes: int
    n_chunks: int
    rows: int
    flops: int
    plain_flops: int
    bytes: int

    def __str__(self) -> str:
        if not self.n_lanes:
            return "no cell can matter, so nothing is run"
        head = f"{self.n_cells:,} cells, {self.n_lanes:,} runs of a prompt in {self.n_chunks:,} steps; "
        work = f"{self.rows:,} rows, {scaled(self.flops, 'FLOP')}"
        if not self.bytes:
            return f"{head}{work}, one forward pass a cell"
        saved = self.plain_flops / self.flops if self.flops else 1.0
        return (
            f"{head}{work} ({saved:.1f} times fewer than one forward pass a cell), "
            f"at most {scaled(self.bytes, 'B')} beside model and base run"
        )


def chunked(
    n_rows: Int[np.ndarray, " lane"],
    sizes: Int[np.ndarray, " lane"],
    together: Int[np.ndarray, " lane"],
    most_rows: int,
    max_bytes: int,
) -> list[range]:
    """Runs of neighbouring lanes, each as long as rows and bytes allow.

    Args:
        together: lanes of one number, which are neighbours, stay in one run.

    Raises:
        MemoryBudgetError: lanes that stay together do not fit.
    """
    if not len(together):
        return []
    chunks, first, rows, size = [], 0, 0, 0
    for start, end in _groups(together):
        more_rows, more = int(n_rows[start:end].sum()), int(sizes[start:end].sum())
        if more > max_bytes:
            raise MemoryBudgetError(
                f"a single cell takes {scaled(more, 'B')} of memory, and {scaled(max_bytes, 'B')} are left for it; "
                "raise max_memory, or give fewer or shorter prompts"
            )
        if start > first and (rows + more_rows > most_rows or size + more > max_bytes):
            chunks.append(range(first, start))
            first, rows, size = start, 0, 0
        rows, size = rows + more_rows, size + more
    return [*chunks, range(first, len(n_rows))]


def _groups(together: Int[np.ndarray, " lane"]) -> Iterator[tuple[int, int]]:
    starts = np.flatnonzero(np.diff(together, prepend=-1))
    return zip(starts.tolist(), [*starts[1:].tolist(), len(together)], strict=True)


def scaled(number: int | float, unit: str) -> str:
    """The number with its unit, shortened by a prefix: `12.3 MB`."""
    prefixes = ["", "k", "M", "G", "T", "P"]
    while number >= 1000 and len(prefixes) > 1:
        number /= 1000
        prefixes.pop(0)
    return f"{number:.3g} {prefixes[0]}{unit}"
