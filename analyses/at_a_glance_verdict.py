"""What the glance says, in words."""

import pandas as pd

from models import HookedTransformer

from .wording import between

_HEAVY = 4.0
"""A kurtosis beyond this is told as heavy tails."""


def verdict(model: HookedTransformer, tables: dict[str, pd.DataFrame], times: float, n_prompts: int) -> str:
    """The finding on the first line, and one detail on each further line."""
    lines = [
        _finding(tables),
        _about_attention(tables["Heads"]),
        _about_dimensions(tables["Stream"], times),
        _about_neurons(model, tables.get("Neurons"), n_prompts),
        _about_weights(tables["Weights"]),
        _about_gains(tables.get("Norms")),
    ]
    return "\n".join(line for line in lines if line)


def _finding(tables: dict[str, pd.DataFrame]) -> str:
    streams, writes = tables["Stream"], tables["Writes"]
    start, end = streams.iloc[0], streams.iloc[-1]
    most = writes.loc[writes["over_what_it_read"].idxmax()]
    return (
        f"The stream {'grows' if end['length'] >= start['length'] else 'shrinks'} from a length of "
        f"{start['length']:.3g} to {between(end, 'length', '.3g')}; {branch_name(str(most['branch']))} writes most "
        f"against what it reads, {between(most, 'over_what_it_read', '.2f')} times the stream's length there."
    )


def branch_name(label: str) -> str:
    """`0 mlp` in words."""
    layer, kind = label.split()
    return f"{'attention' if kind == 'attn' else 'the MLP'} of block {layer}"


def _about_attention(heads: pd.DataFrame) -> str:
    if heads["entropy_share"].isna().all():
        return "No query sees more than one key, so attention has nothing to choose between."
    sharpest, evenest = heads.loc[heads["entropy_share"].idxmin()], heads.loc[heads["entropy_share"].idxmax()]
    if len(heads) == 1:
        return f"The head's entropy is {between(sharpest, 'entropy_share', '.0%')} of ln n, which even attention has."
    return (
        f"Attention is sharpest in {sharpest['head']}, whose entropy is {between(sharpest, 'entropy_share', '.0%')} "
        f"of ln n, and most even in {evenest['head']} with {between(evenest, 'entropy_share', '.0%')}."
    )


def _about_dimensions(streams: pd.DataFrame, times: float) -> str:
    worst = streams.loc[streams["outlier_dimensions"].idxmax()]
    heaviest = streams.loc[streams["kurtosis"].idxmax()]
    largest = streams.loc[streams["largest_number_over_the_median"].idxmax()]
    count = int(worst["outlier_dimensions"])
    if count:
        found = (
            f"{count} dimension{'s' * (count > 1)} of the stream at “{worst['place']}” exceed{'s' * (count == 1)} "
            f"{times:g} times the median (dimension {int(worst['largest_dimension'])} most: "
            f"{worst['it_over_the_median_dimension']:.1f} times)"
        )
    else:
        high = streams["it_over_the_median_dimension"].max()
        found = f"No dimension of the stream exceeds {times:g} times the median one (the largest: {high:.1f} times)"
    tails = "heavy tails" if heaviest["kurtosis"] > _HEAVY else "no heavy tails"
    return (
        f"{found}; kurtosis is at most {between(heaviest, 'kurtosis', '.1f')}, at “{heaviest['place']}” (normal "
        f"numbers: 3), so {tails}; the largest single number is {largest['largest_number_over_the_median']:.0f} times "
        f"the median one (of as many normal numbers {largest['of_as_many_normal_numbers']:.0f}; 1000 is called "
        "massive)."
    )


def _about_neurons(model: HookedTransformer, neurons: pd.DataFrame | None, n_prompts: int) -> str:
    if neurons is None:
        return "It has no MLPs, hence no neurons."
    total, silent, n_tokens = neurons["neurons"].sum(), neurons["never_fired"].sum(), int(neurons["tokens"].iloc[0])
    means = "exceeds 0" if model.cfg.act_fn == "relu" else "exceeds a hundredth of the layer's root mean square"
    # The bound is for independent looks, and tokens of one text are not: prompts are the honest count.
    bound, in_prompts = neurons["silent_ones_fire_on_at_most"].iloc[0], neurons["and_in_prompts_at_most"].iloc[0]
    sentence = f"{silent} of {total} neurons never fired on these {n_tokens} tokens (fires: {means})"
    if silent == 0:
        return sentence + "."
    return (
        f"{sentence}; that does not make them dead: at 95 % they may still fire on up to {bound:.1%} of tokens if "
        f"tokens were independent, and in up to {in_prompts:.0%} of texts, by the {n_prompts} "
        f"prompt{'s' * (n_prompts > 1)} seen."
    )


def _about_weights(weights: pd.DataFrame) -> str:
    known = weights.dropna(subset=["share_of_random"])
    if known.empty:
        return "All matrices are zero."
    lowest = known.loc[known["share_of_random"].idxmin()]
    where = f" of block {lowest['layer']}" if lowest["layer"] else ""
    return (
        f"The matrix with the fewest directions for its shape is {lowest['matrix']}{where}: effective rank "
        f"{lowest['effective_rank']:.1f}, {lowest['share_of_random']:.0%} of a random matrix's; the median matrix has "
        f"{known['share_of_random'].median():.0%}."
    )


def _about_gains(gains: pd.DataFrame | None) -> str:
    if gains is None:
        return ""
    low, high = gains.loc[gains["smallest"].idxmin()], gains.loc[gains["largest"].idxmax()]
    ends = f"{low['smallest']:.2f} ({low['norm']}) to {high['largest']:.2f} ({high['norm']})"
    return f"The norms' weights reach from {ends}."
