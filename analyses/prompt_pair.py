"""Two prompts side by side: where they differ, and from where on the model's predictions differ."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .labels import token_labels
from .result import Result


@dataclass(frozen=True)
class Options:
    """Nothing to choose."""


def run(model: Any, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """KL(clean || corrupted) of the next-token predictions by position, in nats, and what each prompt predicts.

    The first row of `tokens` is the clean prompt, the second the corrupted one.

    Raises:
        ValueError: there are not two rows.
    """
    if tokens.shape[0] != 2:
        raise ValueError(f"a pair has two rows of tokens, not {tokens.shape[0]}")
    with torch.no_grad():
        log_probs = model(tokens).double().log_softmax(-1)
    table = _by_position(model, tokens, log_probs)
    last = table.iloc[-1]
    n_different = int(table.differs.sum())
    return Result(
        name="prompt-pair",
        title="The two prompts, token by token",
        question="Where do the prompts differ, and what does that do to the prediction?",
        verdict=f"The prompts differ at {n_different} of {len(table)} positions. After the last token the clean prompt "
        f"predicts “{last.clean_predicts}” ({last.clean_probability:.1%}), the corrupted one "
        f"“{last.corrupted_predicts}” ({last.corrupted_probability:.1%}); the two are {last.kl_nats:.3g} nats apart.",
        numbers={
            "positions_that_differ": n_different,
            "kl_at_the_end_nats": float(last.kl_nats),
            "largest_kl_nats": float(table.kl_nats.max()),
        },
        tables={"By position": table},
        figures={"How far the predictions are apart": _bars(table)},
        how_to_read="Each bar compares the two next-token distributions at one position: KL(clean ‖ corrupted) in "
        "nats. In a causal model it is zero before the first token that differs.",
        source="Kullback and Leibler (1951).",
    )


def _by_position(
    model: Any, tokens: Int[Tensor, "prompt pos"], log_probs: Float[Tensor, "prompt pos d_vocab"]
) -> pd.DataFrame:
    clean, corrupted = log_probs
    best = log_probs.max(-1)
    return pd.DataFrame(
        {
            "position": range(tokens.shape[1]),
            "clean": token_labels(model, tokens[0]),
            "corrupted": token_labels(model, tokens[1]),
            "differs": (tokens[0] != tokens[1]).tolist(),
            "clean_predicts": token_labels(model, best.indices[0]),
            "clean_probability": best.values[0].exp().tolist(),
            "corrupted_predicts": token_labels(model, best.indices[1]),
            "corrupted_probability": best.values[1].exp().tolist(),
            "kl_nats": (clean.exp() * (clean - corrupted)).sum(-1).tolist(),
        }
    )


def _bars(table: pd.DataFrame) -> go.Figure:
    ticks = [f"{row.clean} → {row.corrupted}" if row.differs else row.clean for row in table.itertuples(index=False)]
    figure = go.Figure(go.Bar(x=table.position, y=table.kl_nats))
    figure.update_xaxes(title="token (clean → corrupted)", tickvals=list(table.position), ticktext=ticks)
    figure.update_yaxes(title="KL(clean ‖ corrupted), nats")
    return figure
