"""Which blocks' contributions are ablated: all of a small model, some of a large one, evenly spread."""

from typing import Any

from interp.residual_ablation import branches

MOST_WORK = 2.5e13
"""Multiplications and additions, a few minutes of two cores."""


def ablated_blocks(model: Any, wanted: int | None, n_tokens: int, passes_a_cell: int) -> list[int]:
    """The blocks, the first and the last among them; without a number wanted, as many as a few minutes allow.

    Args:
        n_tokens: how many are run in each pass.
        passes_a_cell: forward passes for one ablation in one sense, replacements and placebos together.
    """
    n_layers = model.cfg.n_layers
    weights = sum(parameter.numel() for parameter in model.parameters())
    # A pass begins at the block that is changed, which is halfway on average.
    work = passes_a_cell * n_tokens * weights
    a_block = len(branches(model)) / n_layers
    affordable = [n for n in range(1, n_layers + 1) if _cells(round(a_block * n)) * work <= MOST_WORK]
    n = min(max(2, *affordable, 0) if wanted is None else wanted, n_layers)
    return sorted({round(at * (n_layers - 1) / max(1, n - 1)) for at in range(n)})


def _cells(n_branches: int) -> int:
    """Each branch removed, scaled and without its skip; each hidden from every later one and from the logits."""
    return 3 * n_branches + n_branches * (n_branches + 1) // 2 + n_branches + 1
