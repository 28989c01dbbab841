"""What the attention patterns say, in words and headline numbers."""

import pandas as pd

RESTING = 0.5
"""The attention on the first token from which on a head is said to rest there."""


def numbers(heads: pd.DataFrame) -> dict[str, float | int | str]:
    """The headline numbers."""
    sharpest, _ = _ends(heads)
    return {
        "heads": len(heads),
        "sharpest_head": str(sharpest["head"]),
        "its_effective_keys": float(sharpest["effective_keys"]),
        "median_effective_keys": float(heads["effective_keys"].median()),
        "effective_keys_of_even_attention": float(heads["even_keys"].max()),
        "heads_resting_on_the_first_token": int((heads["first_token_attention"] >= RESTING).sum()),
        "median_attention_to_the_first_token": float(heads["first_token_attention"].median()),
    }


def headline(heads: pd.DataFrame) -> str:
    """The finding as one clause."""
    sharpest, _ = _ends(heads)
    if len(heads) == 1:
        return f"the head looks at {sharpest['effective_keys']:.1f} keys, even attention at {sharpest['even_keys']:.1f}"
    return (
        f"the sharpest head, {sharpest['head']}, looks at {sharpest['effective_keys']:.1f} keys at a time, the median "
        f"head at {heads['effective_keys'].median():.1f}, even attention at {heads['even_keys'].max():.1f}"
    )


def verdict(heads: pd.DataFrame, shape: tuple[int, ...], shown: int) -> str:
    """How widely the heads look, the sharpest and the widest, and who rests on the first token."""
    sharpest, widest = _ends(heads)
    first = (
        f"The sharpest head, {sharpest['head']}, looks at {_keys(sharpest)} keys at a time, the widest, "
        f"{widest['head']}, at {_keys(widest)}, the median head at {heads['effective_keys'].median():.1f}; attention "
        f"spread evenly would be on {heads['even_keys'].max():.1f}."
    )
    if len(heads) == 1:
        first = (
            f"The one head looks at {_keys(sharpest)} keys at a time, where attention spread evenly would be on "
            f"{sharpest['even_keys']:.1f}."
        )
    n_prompts = f"{shape[0]} prompt{'s' * (shape[0] > 1)} of {shape[1]} tokens"
    return "\n".join([first, _resting(heads), f"Over {n_prompts}; the first {shown} positions of one are drawn."])


def _resting(heads: pd.DataFrame) -> str:
    resting = heads[heads["first_token_attention"] >= RESTING]
    most = heads.loc[heads["first_token_attention"].idxmax()]
    read = most["first_token_share_of_what_is_read"]
    reading = "which reads nothing at all" if pd.isna(read) else f"from where {read:.0%} of what it reads comes"
    low, high = most["first_token_low"], most["first_token_high"]
    interval = "" if pd.isna(low) else f" ({low:.2f} to {high:.2f})"
    if len(heads) == 1:
        return f"It gives {most['first_token_attention']:.2f}{interval} of its attention to the first token, {reading}."
    return (
        f"{len(resting)} of {len(heads)} heads give half of their attention or more to the first token; the most is "
        f"{most['first_token_attention']:.2f}{interval} of {most['head']}, {reading}."
    )


def _keys(row: pd.Series) -> str:
    low, high = row["effective_keys_low"], row["effective_keys_high"]
    return f"{row['effective_keys']:.1f}" + ("" if pd.isna(low) else f" ({low:.1f} to {high:.1f})")


def _ends(heads: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return heads.loc[heads["effective_keys"].idxmin()], heads.loc[heads["effective_keys"].idxmax()]
