"""The scores of every head by every detector, as a table with intervals and nulls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor

from interp.head_scores import HeadScores
from interp.statistics import over_prompts

from .labels import head_label
from .result import Identity

COPYING = "copying"
"""The score of what a head writes, beside the scores of where it looks."""


@dataclass(frozen=True)
class Measured:
    """What the detectors gave on the tokens that fit the model.

    Attributes:
        scores: by kind; copying only where it is defined.
        origin: the tokens in words.
        why_prompts: why the prompts were taken and not repeated random tokens; empty where those fit.
        why_no_copying: why there is no copying score; empty where there is one.
        identities: what backs the scores.
    """

    scores: Mapping[str, HeadScores]
    origin: str
    why_prompts: str
    why_no_copying: str
    identities: Sequence[Identity]


def head_table(measured: Measured, threshold: float) -> pd.DataFrame:
    """One row for each head and kind; for copying, whatever lies above its null counts."""
    return pd.concat(
        [kind_table(kind, scores, 0.0 if kind == COPYING else threshold) for kind, scores in measured.scores.items()],
        ignore_index=True,
    )


def kind_table(kind: str, scores: HeadScores, threshold: float) -> pd.DataFrame:
    """One row for each head: the score with its interval over sequences, its null, and whether it is of the kind."""
    score, needed = over_prompts(scores.values.cpu()), needed_score(scores, threshold).cpu()
    n_layers, n_heads = score.mean.shape
    return pd.DataFrame(
        {
            "head": [head_label(layer, head) for layer in range(n_layers) for head in range(n_heads)],
            "kind": kind,
            "score": score.mean.flatten().numpy(),
            "low": score.low.flatten().numpy(),
            "high": score.high.flatten().numpy(),
            "null": scores.null.mean(dim=0).cpu().repeat_interleave(n_heads).numpy(),
            "needed": needed.repeat_interleave(n_heads).numpy(),
            "is_one": is_one(scores, threshold).flatten().numpy(),
        }
    )


def is_one(scores: HeadScores, threshold: float) -> Bool[Tensor, "layer head"]:
    """Whether a head is of the kind: its mean reaches what is needed, and its interval lies above the null."""
    reaches = scores.values.mean(dim=0) >= needed_score(scores, threshold)[:, None]
    return reaches.cpu() & (over_prompts(scores.excess.cpu()).low > 0)


def needed_score(scores: HeadScores, threshold: float) -> Float[Tensor, " layer"]:
    """The score that lies `threshold` of the way between the null and 1: in a short context chance gives much."""
    null = scores.null.mean(dim=0)
    return null + threshold * (1 - null)


def nulls(rows: pd.DataFrame) -> str:
    """The null of these heads in words: one number, or one a head where they differ, as between kinds of attention."""
    each = [f"{null:.2f}" for null in rows["null"]]
    return each[0] if len(set(each)) == 1 else f"{', '.join(each[:-1])} and {each[-1]}"
