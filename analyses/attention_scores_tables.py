"""The tables of the attention scores: pairs of writers for the preferred key, and the keys of the drawn query."""

from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.score_decomposition import ScoreTerms
from interp.statistics import over_prompts

from .attention_scores_choice import Choice
from .labels import token_labels

OTHERS = "other writers"
DROPPED = "same for every key"
LEAST = 0.01
"""A writer whose largest pair is a smaller part of the largest pair than this is counted among the others."""


def preferred(terms: ScoreTerms) -> Int[Tensor, " batch"]:
    """The most attended key of each query."""
    return terms.pattern.argmax(dim=-1)


def dropped(terms: ScoreTerms) -> Bool[Tensor, " key_writer"]:
    """The writers whose part is the same for every key, and not nothing."""
    return terms.dropped & (terms.terms.abs().amax(dim=(0, 1, 3)) > 0).cpu()


def pair_table(terms: ScoreTerms, choice: Choice, n_writers: int) -> pd.DataFrame:
    """One row a pair: its part of the drawn query's preference, and the mean of that over the prompts."""
    key = preferred(terms)
    at_key = terms.terms[torch.arange(len(key)), :, :, key]
    difference = terms.against_others(key)
    shown = difference[choice.prompt]
    none = torch.zeros_like(terms.dropped)
    rows = _grouped(terms.query_writers, shown.abs().amax(dim=1), n_writers, none)
    columns = _grouped(terms.key_writers, shown.abs().amax(dim=0), n_writers, dropped(terms))
    lumped_at, lumped = (_lumped(values, rows, columns) for values in (at_key, difference))
    over = over_prompts(lumped[choice.has_query.to(lumped.device)])
    total = float(shown.sum())
    table = []
    for i, query_writer in enumerate(rows):
        for j, key_writer in enumerate(columns):
            own = float(lumped[choice.prompt, i, j])
            table.append(
                {
                    "query_writer": query_writer,
                    "key_writer": key_writer,
                    "score_at_the_key": float(lumped_at[choice.prompt, i, j]),
                    "mean_of_other_keys": float(lumped_at[choice.prompt, i, j]) - own,
                    "difference": own,
                    "share_of_difference": own / total if total else float("nan"),
                    "mean_over_prompts": float(over.mean[i, j]),
                    "mean_over_prompts_low": float(over.low[i, j]),
                    "mean_over_prompts_high": float(over.high[i, j]),
                    "dropped_by_softmax": key_writer == DROPPED,
                }
            )
    frame = pd.DataFrame(table)
    for name, order in (("query_writer", rows), ("key_writer", columns)):
        # Ordered as the forward pass runs, whatever the rows are sorted by.
        frame[name] = pd.Categorical(frame[name], categories=list(order))
    return frame.sort_values("difference", key=abs, ascending=False, ignore_index=True)


def _grouped(
    labels: tuple[str, ...], weight: Float[Tensor, " writer"], n_kept: int, dropped: Bool[Tensor, " writer"]
) -> dict[str, list[int]]:
    """The writers that weigh most, in the order of the forward pass; all the others as one; what softmax drops."""
    weight = weight.where((weight >= LEAST * weight.max()) & ~dropped.to(weight.device), 0.0)
    kept = set(weight.topk(min(n_kept, max(int((weight > 0).sum()), 1))).indices.tolist())
    groups = {label: [number] for number, label in enumerate(labels) if number in kept}
    for name, chosen in ((OTHERS, False), (DROPPED, True)):
        members = [n for n in range(len(labels)) if n not in kept and bool(dropped[n]) == chosen]
        groups |= {name: members} if members else {}
    return groups


def _lumped(
    values: Float[Tensor, "batch query_writer key_writer"], rows: dict[str, list[int]], columns: dict[str, list[int]]
) -> Float[Tensor, "batch row column"]:
    by_row = torch.stack([values[:, members].sum(dim=1) for members in rows.values()], dim=1)
    return torch.stack([by_row[:, :, members].sum(dim=2) for members in columns.values()], dim=2)


def key_table(model: Any, tokens: Int[Tensor, "batch pos"], terms: ScoreTerms, choice: Choice) -> pd.DataFrame:
    """One row for each key that the drawn query may look at."""
    seen = terms.visible[choice.prompt].nonzero().squeeze(-1).cpu()
    scores = terms.terms[choice.prompt].sum(dim=(0, 1)).cpu()[seen]
    texts = token_labels(model, tokens[choice.prompt])
    return pd.DataFrame(
        {
            "position": seen.tolist(),
            "token": [texts[position] for position in seen.tolist()],
            "attention": terms.pattern[choice.prompt].cpu()[seen].numpy(),
            "score": scores.numpy(),
            "score_less_mean": (scores - scores.mean()).numpy(),
        }
    )
