"""The tables of the induction analysis: scores, composition, losses along the sequence, and the ablations."""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.repeated_tokens import RepeatedTokens
from interp.statistics import over_prompts
from interp.weights import composition_scores
from models import HookedTransformer

from .induction_circuit import Circuit
from .induction_runs import CLEAN, Runs, gain
from .labels import head_label

WITHIN = 1.959963984540054
"""Standard deviations to either side that hold 95 % of the null."""


def composition_table(folded: HookedTransformer, circuit: Circuit) -> pd.DataFrame:
    """K-composition of every head of an earlier layer with each induction head, and the null's 95 % interval."""
    rows = []
    for layer, head in sorted(circuit.induction):
        W_K, W_Q = folded.W_K[layer, head][None], folded.W_Q[layer, head][None]
        for before in range(layer):
            scores = composition_scores(folded.W_V[before], folded.W_O[before], W_K, W_Q.mT)
            for writer in range(folded.cfg.n_heads):
                reach = WITHIN * float(scores.baseline_std[writer, 0])
                rows.append(
                    {
                        "writer": head_label(before, writer),
                        "reader": head_label(layer, head),
                        "writer_is_previous_token": (before, writer) in circuit.previous,
                        "score": float(scores.score[writer, 0]),
                        "null": scores.baseline,
                        "null_low": scores.baseline - reach,
                        "null_high": scores.baseline + reach,
                        "z": float(scores.z[writer, 0]),
                    }
                )
    return pd.DataFrame(rows)


def ablation_table(runs: Runs, repeated: RepeatedTokens) -> pd.DataFrame:
    """The loss on both copies and the gain under each ablation; what is lost of the gain is paired by sequence.

    A control's sequences are averaged over its draws; the least and most of the draws' own gains stand beside it.
    """
    clean = gain(repeated, runs.conditions[CLEAN].mean_losses)
    rows = []
    for condition in runs.conditions.values():
        losses = condition.mean_losses
        own = gain(repeated, losses)
        by_draw = torch.stack([gain(repeated, drawn).mean() for drawn in condition.losses])
        kept = own.mean() / clean.mean() if clean.mean() > 0 else torch.tensor(torch.nan)
        rows.append(
            {
                "ablated": condition.ablated,
                "heads": condition.heads,
                **_estimate("first_copy_nats", repeated.losses_of_copy(losses, 0).mean(dim=1)),
                **_estimate("second_copy_nats", repeated.losses_of_copy(losses, 1).mean(dim=1)),
                **_estimate("gain_nats", own),
                **_estimate("gain_lost_nats", clean - own),
                "share_of_gain_kept": float(kept),
                "draws": len(condition.losses),
                "least_gain_of_draws_nats": float(by_draw.min()),
                "most_gain_of_draws_nats": float(by_draw.max()),
            }
        )
    return pd.DataFrame(rows)


def position_table(runs: Runs, repeated: RepeatedTokens) -> pd.DataFrame:
    """The loss on each token of the rows, under each ablation, with its interval over sequences."""
    frames = []
    for condition in runs.conditions.values():
        losses = over_prompts(condition.mean_losses.cpu())
        positions = torch.arange(1, losses.mean.shape[0] + 1)
        frames.append(
            pd.DataFrame(
                {
                    "ablated": condition.ablated,
                    "position": positions.numpy(),
                    "copy": (1 + (positions - repeated.start).div(repeated.length, rounding_mode="floor")).numpy(),
                    "loss_nats": losses.mean.numpy(),
                    "low": losses.low.numpy(),
                    "high": losses.high.numpy(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _estimate(name: str, values: Float[Tensor, " sequence"]) -> dict[str, float]:
    estimate = over_prompts(values.cpu())
    return {name: float(estimate.mean), f"{name}_low": float(estimate.low), f"{name}_high": float(estimate.high)}
