"""What the analysis of depth says, in words."""

from typing import Any

import pandas as pd
from jaxtyping import Int
from torch import Tensor

from .depth_tables import AVERAGED, FRESH, GIVEN
from .wording import between


def verdict(
    likeness: pd.DataFrame,
    stream: pd.DataFrame,
    blocks: pd.DataFrame,
    tokens: Int[Tensor, "batch pos"],
    options: Any,
    scored: str,
) -> str:
    """The finding on the first line, and one detail on each further line."""
    n_prompts, n_positions = tokens.shape[0], tokens.shape[1] - options.first
    lines = [
        _about_cosines(likeness),
        _about_shrinking(likeness, n_positions),
        _about_growth(stream),
        _about_gradient(stream),
        _about_blocks(blocks),
        scored,
        f"Over {n_prompts} prompt{'s' * (n_prompts > 1)} of {tokens.shape[1]} tokens, likeness without the first "
        f"{options.first}; fresh weights in {options.seeds} draws of std 0.02 with what writes scaled by "
        "1/sqrt(2 blocks) (GPT-2's).",
    ]
    return "\n".join(line for line in lines if line)


def _about_cosines(likeness: pd.DataFrame) -> str:
    given, fresh, averaged = (likeness[likeness["weights"] == name] for name in (GIVEN, FRESH, AVERAGED))
    start, end, fresh_end = given.iloc[0], given.iloc[-1], fresh.iloc[-1]
    centred = ""
    if pd.notna(end["centred_cosine"]):
        centred = f"; centred on other prompts from {start['centred_cosine']:.2f} to {between(end, 'centred_cosine')}"
    return (
        f"{_change(start, end)} the mean cosine of two positions goes from {start['mean_cosine']:.2f} at the "
        f"embedding to {between(end, 'mean_cosine')} after the last block (fresh weights: "
        f"{fresh_end['mean_cosine']:.2f}, averaging alone with the skip: "
        f"{averaged.iloc[-1]['mean_cosine']:.2f}){centred}."
    )


def _change(start: pd.Series, end: pd.Series) -> str:
    measure = "mean_cosine" if pd.isna(end["centred_cosine_low"]) else "centred_cosine"
    if pd.isna(end[f"{measure}_low"]):
        return "On this one prompt"
    if end[f"{measure}_low"] > start[f"{measure}_high"]:
        return "Depth makes positions more alike:"
    if end[f"{measure}_high"] < start[f"{measure}_low"]:
        return "Depth sets positions apart:"
    return "Positions end about as alike as they began:"


def _about_shrinking(likeness: pd.DataFrame, n_positions: int) -> str:
    rates = {}
    for name in (GIVEN, FRESH, AVERAGED):
        rows = likeness[likeness["weights"] == name]["relative_residual"]
        rates[name] = float(rows.iloc[-1] / rows.iloc[0]) ** (1 / (len(rows) - 1))
    ranks = likeness[likeness["weights"] == GIVEN]["effective_rank"]
    return (
        f"The part in which positions differ changes by a factor of {rates[GIVEN]:.2f} a block as a share of the "
        f"stream, {rates[FRESH]:.2f} with fresh weights, {rates[AVERAGED]:.2f} by averaging with the skip (3/4 in the "
        f"limit of many layers, 1/2 without the skip, under a causal mask); the effective rank goes from "
        f"{ranks.iloc[0]:.1f} to {ranks.iloc[-1]:.1f}, with {n_positions} positions."
    )


def _about_growth(stream: pd.DataFrame) -> str:
    given, fresh = (stream[stream["weights"] == name].reset_index(drop=True) for name in (GIVEN, FRESH))
    start, end = given.iloc[0], given.iloc[-1]
    sentence = f"The stream's length goes from {start['length']:.3g} to {between(end, 'length', '.3g')}"
    if pd.isna(end["length_at_right_angles"]):
        return sentence + "; its blocks end in a norm, which sets the length, so there is no law of growth."
    ratio, fresh_ratio = (
        float(rows["length"].iloc[-1] / rows["length_at_right_angles"].iloc[-1]) for rows in (given, fresh)
    )
    return (
        f"{sentence}, {ratio:.2f} times what blocks that write at right angles to it would make of it; with fresh "
        f"weights {fresh_ratio:.3f} times, where the law of initialisation says 1."
    )


def _about_gradient(stream: pd.DataFrame) -> str:
    given, fresh = (stream[stream["weights"] == name].iloc[0] for name in (GIVEN, FRESH))
    if pd.isna(given["gradient_over_the_last"]):
        return "It predicts another vocabulary than it reads: there is no loss, and no gradient to follow."
    return (
        f"The gradient of the loss is {between(given, 'gradient_over_the_last')} times as long at the embedding as "
        f"after the last block; with fresh weights {between(fresh, 'gradient_over_the_last')} times."
    )


def _about_blocks(blocks: pd.DataFrame) -> str:
    column = "loss_increase_nats" if blocks["loss_increase_nats"].notna().all() else "kl_nats"
    what = "loss" if column == "loss_increase_nats" else "KL"
    most, least = blocks.loc[blocks[column].idxmax()], blocks.loc[blocks[column].idxmin()]
    sentence = f"Left out, block {int(most['block'])} costs most: {what} {between(most, column, '+.2f')} nats"
    if len(blocks) == 1:
        return sentence.replace("block 0 costs most", "the only block costs") + "."
    return f"{sentence}; block {int(least['block'])} least: {between(least, column, '+.2f')}."
