"""The numbers of the comparison of two models, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.model_difference import PredictionDifference, StreamDifference, Unmatched, WeightChange
from interp.statistics import over_prompts

from .labels import stream_label, token_labels


@dataclass(frozen=True)
class Compared:
    """What was found between two models.

    Attributes:
        predictions: what both say of each token.
        scored: the predictions that count: those that both were trained to make.
        prompts: the table by prompt.
        weights: the table by parameter.
        streams: the table by place; None if the streams have different widths.
        unmatched: the parameters without a partner.
    """

    predictions: PredictionDifference
    scored: Bool[Tensor, " predicted"]
    prompts: pd.DataFrame
    weights: pd.DataFrame
    streams: pd.DataFrame | None
    unmatched: list[Unmatched]


def by_prompt(found: PredictionDifference, scored: Bool[Tensor, " predicted"]) -> pd.DataFrame:
    """Both losses, their difference and the KL of each prompt, over the positions that count.

    The last position has no next token, so no loss; its prediction counts unless only some do.
    """
    at = torch.cat([scored, scored.all()[None]])
    return pd.DataFrame(
        {
            "prompt": range(len(found.loss)),
            "loss_nats": found.loss[:, scored].mean(dim=1).numpy(),
            "other_loss_nats": found.other_loss[:, scored].mean(dim=1).numpy(),
            "loss_difference_nats": (found.other_loss - found.loss)[:, scored].mean(dim=1).numpy(),
            "kl_nats": found.kl[:, at].mean(dim=1).numpy(),
            "same_top_token": (found.top == found.other_top)[:, at].double().mean(dim=1).numpy(),
        }
    )


def by_position(found: PredictionDifference) -> pd.DataFrame:
    """KL and loss difference by position with their intervals; the last position has no next token."""
    kl, loss = over_prompts(found.kl), over_prompts(found.other_loss - found.loss)
    table = pd.DataFrame(
        {
            "position": range(found.kl.shape[1]),
            "kl_nats": kl.mean.numpy(),
            "kl_nats_low": kl.low.numpy(),
            "kl_nats_high": kl.high.numpy(),
        }
    )
    columns = {"": loss.mean, "_low": loss.low, "_high": loss.high}
    return table.assign(**{f"loss_difference_nats{end}": pd.Series(v.numpy()) for end, v in columns.items()})


def changed_tokens(
    model: Any, tokens: Int[Tensor, "prompt pos"], found: PredictionDifference, top: int
) -> pd.DataFrame:
    """The positions with the largest KL, each with its token, the next, and what both models expect."""
    values, places = found.kl.flatten().sort(descending=True, stable=True)
    values, prompts, positions = values[:top], places[:top] // found.kl.shape[1], places[:top] % found.kl.shape[1]
    tokens = tokens.cpu()
    # Behind the last position nothing follows: its own token stands in and is taken out again.
    following = (positions + 1).clamp_max(tokens.shape[1] - 1)
    ends = (following == positions).tolist()
    losses = [torch.cat([each, each.new_full((len(each), 1), torch.nan)], 1) for each in (found.loss, found.other_loss)]
    labels = token_labels(model, tokens[prompts, following])
    return pd.DataFrame(
        {
            "prompt": prompts.tolist(),
            "position": positions.tolist(),
            "token": token_labels(model, tokens[prompts, positions]),
            "next_token": [None if end else label for end, label in zip(ends, labels, strict=True)],
            "expected": token_labels(model, found.top[prompts, positions]),
            "other_expected": token_labels(model, found.other_top[prompts, positions]),
            "kl_nats": values.tolist(),
            "loss_nats": losses[0][prompts, positions].tolist(),
            "other_loss_nats": losses[1][prompts, positions].tolist(),
        }
    )


def weights(changes: Sequence[WeightChange]) -> pd.DataFrame:
    """Each parameter with its relative change and cosine, in the order of the model."""
    return pd.DataFrame(
        {
            "parameter": [change.name for change in changes],
            "shape": [shape_text(change.shape) for change in changes],
            "relative_change": [change.relative for change in changes],
            "cosine": [change.cosine for change in changes],
        }
    )


def unmatched_weights(unmatched: Sequence[Unmatched]) -> pd.DataFrame:
    """Each parameter without a partner, with its shape in both models."""
    return pd.DataFrame(
        {
            "parameter": [each.name for each in unmatched],
            "shape": [shape_text(each.model) for each in unmatched],
            "other_shape": [shape_text(each.other) for each in unmatched],
        }
    )


def streams(found: StreamDifference) -> pd.DataFrame:
    """Cosine and relative distance of the streams by place, with intervals over prompts."""
    cosine, distance = over_prompts(found.cosine.T), over_prompts(found.distance.T)
    return pd.DataFrame(
        {
            "place": [stream_label(name) for name in found.sites],
            "cosine": cosine.mean.numpy(),
            "cosine_low": cosine.low.numpy(),
            "cosine_high": cosine.high.numpy(),
            "relative_distance": distance.mean.numpy(),
            "relative_distance_low": distance.low.numpy(),
            "relative_distance_high": distance.high.numpy(),
        }
    )


def shape_text(shape: tuple[int, ...] | None) -> str:
    """`(4, 128, 32)` as "4 × 128 × 32"; a dash where there is none."""
    return "–" if shape is None else " × ".join(map(str, shape)) or "1"
