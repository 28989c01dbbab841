"""Logit lens across blocks: where along the stream the prediction of the next token forms."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Int
from torch import Tensor

from interp.lenses import LensReadings, logit_lens
from interp.statistics import over_prompts

from .errors import OptionError
from .labels import stream_label, token_labels
from .next_token import require_next_token
from .result import Result


@dataclass(frozen=True)
class Options:
    """What to draw."""

    drawn_prompt: int = field(default=0, metadata={"help": "Which prompt is drawn token by token."})
    positions: int = field(default=32, metadata={"help": "How many of its positions are drawn."})

    def __post_init__(self) -> None:
        if self.drawn_prompt < 0 or self.positions < 1:
            raise ValueError(
                f"drawn_prompt={self.drawn_prompt} counts from 0, and positions={self.positions} must be at least 1"
            )


def run(model: Any, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """Logit, rank and log-probability of the next token, and KL(model || lens), by site and position.

    Raises:
        NotApplicableError: the model does not predict the next token.
        OptionError: a prompt that is not there.
        ValueError: fewer than two positions, or streams that are not finite.
    """
    require_next_token(model)
    if options.drawn_prompt >= tokens.shape[0]:
        raise OptionError(
            f"prompt {options.drawn_prompt} is not there: the batch has {tokens.shape[0]}, counted from 0"
        )
    readings = logit_lens(model, tokens)
    by_site = _by_site(readings)
    by_token = _by_token(model, tokens, readings, options)
    return Result(
        name="logit-lens",
        title="Logit lens across blocks",
        question="What would the model say if the stream were read out after each step, and where does its final "
        "prediction form?",
        verdict=_verdict(readings, by_site, tokens.shape[0]),
        numbers=_numbers(readings, by_site),
        tables={
            "By place in the stream": by_site,
            "By place and position": _by_position(readings),
            "Token by token": by_token,
        },
        figures={
            "How the prediction forms": _lines(by_site),
            "One prompt, token by token": _heat_map(by_token),
        },
        how_to_read="Each place in the stream is read with the model's own final norm and unembedding. KL says how "
        "far that early answer is from the final one, in nats; rank 0 means the true next token is on top. The lens "
        "is biased in early blocks: a high KL there can mean that the prediction is not made yet, or only that it is "
        "written in directions that later blocks still turn.",
        headline="half of the distance from the embedding to the final answer is gone, and stays gone, from place "
        f"“{_half_way(by_site)}” on",
        source="nostalgebraist (2020), interpreting GPT: the logit lens; Belrose et al. (2023), equation 3.",
    )


def _by_site(readings: LensReadings) -> pd.DataFrame:
    kl = over_prompts(readings.kl.double().mean(dim=2).T)
    log_prob = over_prompts(readings.next_log_prob.double().mean(dim=2).T)
    rank = readings.next_rank.flatten(1).double()
    agrees = (readings.top_token == readings.top_token[-1]).double().flatten(1).mean(dim=1)
    return pd.DataFrame(
        {
            "place": [stream_label(name) for name in readings.sites],
            "kl_nats": kl.mean.numpy(force=True),
            "kl_standard_error": kl.standard_error.numpy(force=True),
            "next_logit": readings.next_logit.double().flatten(1).mean(dim=1).numpy(force=True),
            "next_log_prob_nats": log_prob.mean.numpy(force=True),
            "next_log_prob_standard_error": log_prob.standard_error.numpy(force=True),
            "next_rank_median": rank.median(dim=1).values.numpy(force=True),
            "next_on_top": (rank == 0).double().mean(dim=1).numpy(force=True),
            "same_top_as_model": agrees.numpy(force=True),
        }
    )


def _by_position(readings: LensReadings) -> pd.DataFrame:
    """Means over the prompts; the last position has no next token, so only its KL is known."""
    rows = []
    for site, name in enumerate(readings.sites):
        for position in range(readings.kl.shape[2]):
            row = {
                "place": stream_label(name),
                "position": position,
                "kl_nats": float(readings.kl[site, :, position].mean()),
            }
            if position < readings.next_rank.shape[2]:
                row["next_logit"] = float(readings.next_logit[site, :, position].mean())
                row["next_log_prob_nats"] = float(readings.next_log_prob[site, :, position].mean())
                row["next_rank_mean"] = float(readings.next_rank[site, :, position].double().mean())
            rows.append(row)
    return pd.DataFrame(rows)


def _by_token(model: Any, tokens: Tensor, readings: LensReadings, options: Options) -> pd.DataFrame:
    prompt, shown = options.drawn_prompt, slice(0, min(options.positions, readings.next_rank.shape[2]))
    texts = token_labels(model, tokens[prompt])
    frames = []
    for site, name in enumerate(readings.sites):
        top = token_labels(model, readings.top_token[site, prompt, shown])
        frames.append(
            pd.DataFrame(
                {
                    "place": stream_label(name),
                    "position": range(len(top)),
                    "token": texts[: len(top)],
                    "next_token": texts[1 : len(top) + 1],
                    "lens_says": top,
                    "next_logit": readings.next_logit[site, prompt, shown].double().numpy(force=True),
                    "next_log_prob_nats": readings.next_log_prob[site, prompt, shown].double().numpy(force=True),
                    "next_rank": readings.next_rank[site, prompt, shown].numpy(force=True),
                    "kl_nats": readings.kl[site, prompt, shown].double().numpy(force=True),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _numbers(readings: LensReadings, by_site: pd.DataFrame) -> dict[str, float | int | str]:
    last = by_site.iloc[-1]
    return {
        "largest_difference_to_the_model_at_the_end": readings.end_difference,
        "kl_at_the_embedding_nats": float(by_site.kl_nats.iloc[0]),
        "half_of_the_kl_gone_at": _half_way(by_site),
        "loss_at_the_end_nats": -float(last.next_log_prob_nats),
        "next_token_on_top_at_the_end": float(last.next_on_top),
        "median_rank_at_the_end": float(last.next_rank_median),
    }


def _half_way(by_site: pd.DataFrame) -> str:
    # The first place after which the KL stays below half of where it started, so that a dip is not taken for it.
    below = (by_site.kl_nats <= by_site.kl_nats.iloc[0] / 2).to_numpy()
    stays = np.flip(np.minimum.accumulate(np.flip(below)))
    return str(by_site.place[int(stays.argmax())])


def _verdict(readings: LensReadings, by_site: pd.DataFrame, n_prompts: int) -> str:
    first, last = by_site.iloc[0], by_site.iloc[-1]
    error = "" if n_prompts == 1 else f" ± {first.kl_standard_error:.2f} (standard error)"
    exact = (
        "reproduces the model's logits exactly"
        if readings.end_difference == 0
        else f"reproduces the model's logits to {readings.end_difference:.1e}"
    )
    return (
        f"Half of the distance to the model's answer, {first.kl_nats:.2f}{error} nats at the embedding, is gone, and "
        f"stays gone, from place “{_half_way(by_site)}” on.\n"
        f"The true next token's median rank goes from {first.next_rank_median:.0f} to "
        f"{last.next_rank_median:.0f}, and it is on top in {last.next_on_top:.0%} of positions at the end. "
        f"Over {n_prompts} prompt{'s' if n_prompts > 1 else ''} of {readings.kl.shape[2]} tokens.\n"
        f"Read out after the last block, the lens {exact}."
    )


def _lines(by_site: pd.DataFrame) -> go.Figure:
    figure = go.Figure()
    columns = (
        ("KL(model || lens)", "kl_nats", "kl_standard_error"),
        ("surprise at the next token", "next_log_prob_nats", "next_log_prob_standard_error"),
    )
    for label, column, error in columns:
        values = by_site[column].abs()
        bars = {"type": "data", "array": 1.96 * by_site[error], "visible": bool(by_site[error].notna().all())}
        figure.add_scatter(x=by_site.place, y=values, error_y=bars, name=label, mode="lines+markers")
    figure.update_layout(xaxis_title="place in the stream", yaxis_title="nats (bars: 95 % over prompts)")
    return figure


def _heat_map(by_token: pd.DataFrame) -> go.Figure:
    places = list(dict.fromkeys(by_token.place))
    shape = (len(places), len(by_token) // len(places))
    grid = {column: by_token[column].to_numpy().reshape(shape) for column in by_token.columns}
    figure = go.Figure(
        go.Heatmap(
            z=grid["next_log_prob_nats"],
            y=places,
            x=list(range(shape[1])),
            text=grid["lens_says"],
            customdata=np.stack([grid["next_token"], grid["next_rank"], grid["kl_nats"]], axis=-1),
            texttemplate="%{text}",
            colorscale="Viridis",
            colorbar={"title": "log p(next), nats"},
            hovertemplate="%{y}, position %{x}<br>lens says %{text}<br>next is %{customdata[0]}, rank %{customdata[1]}"
            "<br>log p %{z:.2f} nats<br>KL %{customdata[2]:.2f} nats<extra></extra>",
        )
    )
    ticks = [f"{position}: {token}" for position, token in enumerate(grid["token"][0])]
    figure.update_xaxes(tickmode="array", tickvals=list(range(shape[1])), ticktext=ticks, tickangle=-60)
    figure.update_layout(yaxis_title="place in the stream")
    return figure
