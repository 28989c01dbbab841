"""The figures of the induction analysis, each drawn from its table."""

import pandas as pd
import plotly.graph_objects as go

from .colours import series
from .induction_runs import CLEAN

QUIET = "#8a8f98"
"""The colour of intervals and nulls, legible on light and dark."""

BANDS = 2
"""Lines of losses that are drawn with their interval: of more, none would be seen."""


def scores_figure(scores: pd.DataFrame) -> go.Figure:
    """Previous-token score against prefix matching, one point a head."""
    previous, induction = (scores[scores["kind"] == kind].set_index("head") for kind in ("previous token", "induction"))
    figure = go.Figure()
    layers = [head.partition("H")[0] for head in previous.index]
    for number, layer in enumerate(dict.fromkeys(layers)):
        heads = [head for head, of in zip(previous.index, layers, strict=True) if of == layer]
        x, y = previous.loc[heads], induction.loc[heads]
        named = x["is_one"] | y["is_one"]
        figure.add_scatter(
            x=x["score"].round(4), y=y["score"].round(4), mode="markers+text", name=f"layer {layer[1:]}",
            text=[head if known else "" for head, known in zip(heads, named, strict=True)], customdata=heads,
            textposition="top center", marker={"color": series(number), "size": 9},
            hovertemplate="%{customdata}<br>previous token %{x:.3f}<br>prefix matching %{y:.3f}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=float(previous["null"].iloc[0]), line_dash="dot", line_width=1, line_color=QUIET)
    figure.add_hline(y=float(induction["null"].iloc[0]), line_dash="dot", line_width=1, line_color=QUIET)
    figure.update_xaxes(title="attention to the previous token (dotted: null)", range=[-0.05, 1.08])
    figure.update_yaxes(title="prefix matching (dotted: null)", range=[-0.05, 1.12])
    return figure


def composition_figure(compositions: pd.DataFrame) -> go.Figure:
    """How far the K-composition of each earlier head with each induction head is above its null."""
    grid, scores = (compositions.pivot(index="reader", columns="writer", values=value) for value in ("z", "score"))
    writers = list(dict.fromkeys(compositions["writer"]))
    grid, scores = grid.reindex(columns=writers).round(2), scores.reindex(columns=writers)
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy(), x=writers, y=list(grid.index), colorscale="Viridis", xgap=1, ygap=1,
            customdata=scores.round(4).to_numpy(), colorbar={"title": "z"},
            hovertemplate="%{x} to the keys of %{y}<br>K-composition %{customdata}<br>z %{z:.1f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(tickmode="array", tickvals=writers, ticktext=writers, title="earlier head")
    figure.update_yaxes(title="reader", type="category")
    figure.update_layout(height=190 + 30 * len(grid))
    return figure


def ablation_figure(ablations: pd.DataFrame) -> go.Figure:
    """The gain that is left under each ablation."""
    error = {
        "type": "data",
        "symmetric": False,
        "array": (ablations["gain_nats_high"] - ablations["gain_nats"]).round(4),
        "arrayminus": (ablations["gain_nats"] - ablations["gain_nats_low"]).round(4),
        "color": QUIET,
    }
    places = list(range(len(ablations)))
    figure = go.Figure(
        go.Bar(
            y=places, x=ablations["gain_nats"].round(4), error_x=error, orientation="h", customdata=ablations["heads"],
            marker_color=[_colour(name) for name in ablations["ablated"]],
            hovertemplate="%{customdata}<br>gain %{x:.3f} nats<extra></extra>",
        )
    )  # fmt: skip
    ticks = list(ablations["ablated"])
    figure.update_yaxes(tickmode="array", tickvals=places, ticktext=ticks, autorange="reversed")
    figure.update_xaxes(title="gain left, nats (bars: 95 %)", zeroline=True)
    figure.update_layout(height=120 + 34 * len(ticks))
    return figure


def loss_figure(positions: pd.DataFrame, shown: list[str]) -> go.Figure:
    """The loss along the sequence, a line for each ablation, the first two with their 95 % bands."""
    figure = go.Figure()
    for number, name in enumerate(shown):
        rows = positions[positions["ablated"] == name]
        colour = series(number)
        band = [*rows["high"].round(3), *rows["low"].round(3)[::-1]]
        if number < BANDS:
            figure.add_scatter(
                x=[*rows["position"], *rows["position"][::-1]], y=band, fill="toself", fillcolor=colour, opacity=0.15,
                line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False, legendgroup=name,
            )  # fmt: skip
        figure.add_scatter(
            x=rows["position"], y=rows["loss_nats"].round(3), mode="lines", name=name, legendgroup=name,
            line={"color": colour}, hovertemplate="token %{x}: %{y:.2f} nats<extra>" + name + "</extra>",
        )  # fmt: skip
    for start in positions[positions["copy"] > 1].groupby("copy")["position"].min():
        figure.add_vline(x=float(start), line_dash="dot", line_width=1, line_color=QUIET)
    figure.update_layout(xaxis_title="token (dotted: a copy begins)", yaxis_title="loss, nats (bands: 95 %)")
    return figure


def _colour(ablated: str) -> str:
    if ablated == CLEAN:
        return series(0)
    return series(7) if ablated.endswith("at random") else series(1)
