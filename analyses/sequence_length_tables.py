"""The tables of sequence length."""

import numpy as np
import pandas as pd

from interp.cost import Cost
from interp.prefix import PrefixDifferences

from .forward_times import Times, fit

MILLISECOND = 1e-3


def prefix_table(own: PrefixDifferences, precise: PrefixDifferences) -> pd.DataFrame:
    """The largest relative difference of the logits of each prefix."""
    return pd.DataFrame(
        {
            "prefix": own.lengths,
            "alone_in_its_own_dtype": own.cut.numpy(force=True),
            "alone_in_float64": precise.cut.numpy(force=True),
            "later_tokens_replaced": own.replaced.numpy(force=True),
        }
    )


def time_table(measured: Times) -> pd.DataFrame:
    """Milliseconds by length: fastest, median and slowest round, and the parts of the fit to the fastest."""
    lengths = np.array(measured.lengths)
    best = fit(measured.lengths, measured.fused.min(axis=0))
    table = pd.DataFrame({"positions": lengths})
    for name, seconds in (("fused", measured.fused), ("with_patterns", measured.materialised)):
        for kind, values in (
            ("fastest", seconds.min(0)),
            ("median", np.median(seconds, 0)),
            ("slowest", seconds.max(0)),
        ):
            table[f"{name}_{kind}_ms"] = values / MILLISECOND
    table["with_patterns_over_fused"] = table["with_patterns_fastest_ms"] / table["fused_fastest_ms"]
    table["fitted_constant_ms"] = best.constant / MILLISECOND
    table["fitted_T_ms"] = best.by_position * lengths / MILLISECOND
    table["fitted_T_squared_ms"] = best.by_pair * lengths**2 / MILLISECOND
    return table


def cost_table(n_ctx: int, flops: Cost, size: Cost) -> pd.DataFrame:
    """Operations and bytes by length, up to the context or twice the farther crossover if that is more."""
    end = max(n_ctx, 2 * max(flops.crossover, size.crossover))
    lengths = np.unique(np.round(np.geomspace(1, end, 16)).astype(int))
    lengths = np.unique([*lengths, n_ctx])
    return pd.DataFrame(
        {
            "positions": lengths,
            "operations_T": [flops.by_position * int(n) for n in lengths],
            "operations_T_squared": [flops.by_pair * int(n) ** 2 for n in lengths],
            "bytes_T": [size.by_position * int(n) for n in lengths],
            "bytes_T_squared": [size.by_pair * int(n) ** 2 for n in lengths],
            "fits_the_context": lengths <= n_ctx,
        }
    )
