"""What came of running some cells of a sweep a second time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verification:
    """How far cells that were run again the plain way, one hooked forward each, were from what the engine said.

    Attributes:
        n_cells: how many were run again.
        largest_difference: the largest over these cells and all prompts, in the metric's unit.
        tolerance: what was allowed.
    """

    n_cells: int
    largest_difference: float
    tolerance: float

    def __str__(self) -> str:
        cells = f"{self.n_cells} cell{'s' * (self.n_cells != 1)}"
        return f"{cells} run again the plain way: largest difference {self.largest_difference:.2g}"
