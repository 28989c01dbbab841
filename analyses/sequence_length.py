"""Sequence length: the same answer whatever follows, and what more positions cost in time and memory."""

from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from interp.cost import Cost, cache_bytes, forward_flops
from interp.invariants.invariant import ROUNDING
from interp.prefix import PrefixDifferences, prefix_differences
from models import HookedTransformer
from models.errors import InputError

from .errors import NotApplicableError
from .forward_times import Times, times
from .result import Identity, Result
from .sequence_length_figures import cost_figure, time_figure
from .sequence_length_tables import cost_table, prefix_table, time_table
from .sequence_length_verdict import verdict

_SHORTEST_CONTEXT = 4
_PROMPTS = 2
"""Prompts whose prefixes are compared."""

_WHAT_IT_IS = (
    "A causal model reads from left to right: what it says after a prefix cannot depend on what follows. More "
    "positions cost more in two ways. Every position goes through the same matrices: that part grows with T. Every "
    "query is compared with every key: that part grows with T^2. The operations of both and the bytes of all "
    "activations are counted in closed form; the time is measured and taken apart into a constant, a part with T and "
    "one with T^2. PyTorch's fused attention never writes the patterns to memory; whoever looks at them has them "
    "computed."
)
_HOW_TO_READ = (
    "Operations and bytes are exact counts of this architecture; the times (processor time, of all threads together) "
    "are this machine's. Bars go from the fastest to the slowest round, the point is the fastest, and no sentence "
    "rests on a difference within them. At short lengths the constant (calls, not arithmetic) is most of the time. "
    "Masked pairs are computed as well, so that a causal mask halves nothing in the count."
)
_SOURCE = (
    "Vaswani et al. (2017), section 4; Kaplan et al. (2020), section 2.1, for the count; Dao et al. (2022), "
    "FlashAttention, for fused attention."
)


@dataclass(frozen=True)
class Options:
    """How long may be measured."""

    seconds: float = field(default=0.8, metadata={"help": "Seconds of processor time that the timing may take, about."})

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise ValueError(f"seconds={self.seconds} must be a positive number")


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """Differences of the logits of prefixes, operations, bytes and times against the number of positions.

    Raises:
        NotApplicableError: a context of fewer than four positions.
    """
    n_ctx = model.cfg.n_ctx
    if n_ctx < _SHORTEST_CONTEXT:
        raise NotApplicableError(f"its context of {n_ctx} positions is too short to tell T from T^2")
    flops, size = forward_flops(model.cfg), cache_bytes(model)
    prefixes = _prefixes(model, tokens[:_PROMPTS])
    measured = times(model, flops, options.seconds)
    by_length, costs = time_table(measured), cost_table(n_ctx, flops, size)
    tables = {"Time": by_length, "Operations and bytes": costs}
    if prefixes is not None:
        tables = {"Logits of a prefix": prefix_table(*prefixes)} | tables
    refused = _refuses_more_than_its_context(model)
    return Result(
        name="sequence-length",
        title="Sequence length",
        question="Does the model say the same after a prefix whatever follows, and what do more positions cost?",
        verdict=verdict(model, prefixes, measured, flops, size, refused),
        numbers=_numbers(model, prefixes, measured, flops, size),
        tables=tables,
        figures={"Time": time_figure(by_length, measured), "Operations and bytes": cost_figure(costs, flops, size)},
        identities=_identities(model, prefixes, measured, flops, size, refused),
        what_it_is=_WHAT_IT_IS,
        how_to_read=_HOW_TO_READ,
        source=_SOURCE,
    )


def _prefixes(
    model: HookedTransformer, tokens: Int[Tensor, "batch pos"]
) -> tuple[PrefixDifferences, PrefixDifferences] | None:
    """The differences in the model's own dtype and in float64; None where later positions are seen or missing."""
    length = tokens.shape[1]
    if model.cfg.attention_dir != "causal" or length < 2:
        return None
    lengths = sorted({1, max(1, length // 4), max(1, length // 2), max(1, 3 * length // 4), length - 1})
    return (
        prefix_differences(model, tokens, lengths),
        prefix_differences(deepcopy(model).double(), tokens, lengths),
    )


def _refuses_more_than_its_context(model: HookedTransformer) -> bool:
    try:
        model(torch.zeros(1, model.cfg.n_ctx + 1, dtype=torch.long, device=model.W_E.device))
    except InputError:
        return True
    return False


def _numbers(
    model: HookedTransformer,
    prefixes: tuple[PrefixDifferences, PrefixDifferences] | None,
    measured: Times,
    flops: Cost,
    size: Cost,
) -> dict[str, float | int | str]:
    numbers: dict[str, float | int | str] = {
        "positions_where_both_parts_of_the_operations_are_equal": flops.crossover,
        "share_of_T_squared_in_the_operations_of_a_full_context": _share(flops, model.cfg.n_ctx),
        "positions_where_patterns_take_half_of_the_cache": size.crossover,
        "cache_bytes_of_a_full_context": size.at(model.cfg.n_ctx),
        "longest_prompt_timed": measured.lengths[-1],
        "time_with_patterns_over_fused": float(np.median(measured.materialised[:, -1] / measured.fused[:, -1])),
    }
    if prefixes is not None:
        numbers["largest_difference_of_a_prefix_float64"] = float(prefixes[1].cut.max())
    return numbers


def _share(cost: Cost, n_positions: int) -> float:
    return cost.by_pair * n_positions**2 / cost.at(n_positions)


def _identities(
    model: HookedTransformer,
    prefixes: tuple[PrefixDifferences, PrefixDifferences] | None,
    measured: Times,
    flops: Cost,
    size: Cost,
    refused: bool,
) -> list[Identity]:
    rounding = ROUNDING.by_dtype[model.cfg.dtype]
    length = min(model.cfg.n_ctx, 7)
    prompt = torch.zeros(1, length, dtype=torch.long, device=model.W_E.device)
    with FlopCounterMode(display=False) as counter:
        _, cache = model.run_with_cache(prompt)
    counted, held = counter.get_total_flops(), sum(kept.numel() * kept.element_size() for kept in cache.values())
    found = [
        Identity("the operations are those PyTorch counts", abs(flops.at(length) / counted - 1), 0.0),
        Identity("the bytes are those of a run's cache", abs(size.at(length) / held - 1), 0.0),
        Identity("fused attention gives the logits of materialised patterns", measured.logit_difference, rounding),
        Identity("one position more than the context is refused", float(not refused), 0.0),
    ]
    if prefixes is None:
        return found
    own, precise = prefixes
    float64 = ROUNDING.by_dtype[torch.float64]
    return [
        Identity("a prefix has the logits it has in the whole prompt, in float64", float(precise.cut.max()), float64),
        Identity("with later tokens replaced a prefix's logits are equal to the bit", float(own.replaced.max()), 0.0),
        *found,
    ]
