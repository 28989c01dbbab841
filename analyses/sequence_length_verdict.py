"""What the analysis of sequence length says, in words."""

import numpy as np

from interp.cost import Cost
from interp.prefix import PrefixDifferences
from models import HookedTransformer

from .forward_times import Times, fit

_TOO_LITTLE = 0.05
"""Below this share of the operations the T^2 term is too small for the clock to find."""


def verdict(
    model: HookedTransformer,
    prefixes: tuple[PrefixDifferences, PrefixDifferences] | None,
    measured: Times,
    flops: Cost,
    size: Cost,
    refused: bool,
) -> str:
    """The finding on the first line, and one detail on each further line."""
    return "\n".join(
        (
            _finding(model, prefixes, flops),
            *_about_prefixes(model, prefixes),
            _about_memory(model, size),
            _about_time(measured, flops),
            _about_patterns(model, measured),
            _about_the_end(model, refused),
        )
    )


def _finding(
    model: HookedTransformer, prefixes: tuple[PrefixDifferences, PrefixDifferences] | None, flops: Cost
) -> str:
    n_ctx = model.cfg.n_ctx
    share = flops.by_pair * n_ctx**2 / flops.at(n_ctx)
    cost = (
        f"the part of the operations that grows with T² is {share:.1%} of a full context of {n_ctx} and would overtake "
        f"the rest at T = {flops.crossover:.0f}"
    )
    if prefixes is None:
        return cost[0].upper() + cost[1:] + "."
    return f"What follows a prefix changes nothing (at most {float(prefixes[1].cut.max()):.0e} in float64), and {cost}."


def _about_prefixes(
    model: HookedTransformer, prefixes: tuple[PrefixDifferences, PrefixDifferences] | None
) -> list[str]:
    if prefixes is None:
        if model.cfg.attention_dir == "causal":
            return []
        return [
            "Attention is bidirectional: what follows a prefix is seen, so its logits may differ, and do not count."
        ]
    own, precise = prefixes
    dtype = str(model.cfg.dtype).removeprefix("torch.")
    in_own = "" if dtype == "float64" else f" ({float(own.cut.max()):.0e} in {dtype})"
    replaced = float(own.replaced.max())
    to_the_bit = "are equal to the bit" if replaced == 0 else f"differ by {replaced:.0e}"
    return [
        f"A prefix alone against the same prefix in the whole prompt, at {len(own.lengths)} lengths: logits differ by "
        f"{float(precise.cut.max()):.0e} of the largest in float64{in_own}, because matrix products of another shape "
        f"add in another order; with the later tokens replaced and the shape kept they {to_the_bit}."
    ]


def _about_memory(model: HookedTransformer, size: Cost) -> str:
    n_ctx = model.cfg.n_ctx
    pairs, whole = size.by_pair * n_ctx**2, size.at(n_ctx)
    return (
        f"All activations of one prompt of {n_ctx} take {_bytes(whole)}, {pairs / whole:.0%} of them scores and "
        f"patterns, which grow with T² and are half of it at T = {size.crossover:.0f}."
    )


def _about_time(measured: Times, flops: Cost) -> str:
    longest = measured.lengths[-1]
    share = flops.by_pair * longest**2 / flops.at(longest)
    best = fit(measured.lengths, measured.fused.min(axis=0)).share_of_pairs(longest)
    shares = [fit(measured.lengths, row).share_of_pairs(longest) for row in measured.fused]
    fastest, slowest = measured.fused[:, -1].min(), measured.fused[:, -1].max()
    sentence = (
        f"On this machine a prompt of {longest} took {_seconds(fastest)} to {_seconds(slowest)} of processor time in "
        f"{len(shares)} rounds; of the time fitted to the fastest the T² term is {best:.0%} ({min(shares):.0%} to "
        f"{max(shares):.0%} in single rounds), of the operations {share:.1%}"
    )
    if share < _TOO_LITTLE:
        return sentence + ": too few at this length for the clock to tell them from the rest."
    return sentence + "."


def _about_patterns(model: HookedTransformer, measured: Times) -> str:
    ratios = measured.materialised / measured.fused
    if model.cfg.attn_scores_soft_cap > 0:
        return "Its scores have a soft cap, which the fused kernel does not know: patterns are always materialised."
    return (
        f"Looking at the patterns takes {np.median(ratios[:, -1]):.2f} times the time of fused attention at T = "
        f"{measured.lengths[-1]} (median; {ratios[:, -1].min():.2f} to {ratios[:, -1].max():.2f}) and changes the "
        f"logits by {measured.logit_difference:.0e} of the largest."
    )


def _about_the_end(model: HookedTransformer, refused: bool) -> str:
    n_ctx = model.cfg.n_ctx
    return f"A prompt of {n_ctx + 1} is refused." if refused else f"A prompt of {n_ctx + 1} is NOT refused."


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _seconds(value: float) -> str:
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"
