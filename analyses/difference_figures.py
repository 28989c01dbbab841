"""The pictures of the comparison of two models, each drawn from its table."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .colours import series

_BARS = 60
"""Parameters that are drawn: those that changed most."""


def figures(tables: Mapping[str, pd.DataFrame], names: tuple[str, str]) -> dict[str, go.Figure]:
    """One figure for each table of numbers."""
    drawn = {
        "Loss by prompt": _by_prompt(tables["By prompt"], names),
        "How far the predictions are apart": _by_position(tables["By position"], names),
    }
    if len(tables["Weights"]):
        drawn["How far the weights moved"] = _weights(tables["Weights"])
    if "Streams" in tables:
        drawn["How alike the streams are"] = _streams(tables["Streams"])
    return drawn


def _by_prompt(table: pd.DataFrame, names: tuple[str, str]) -> go.Figure:
    figure = go.Figure()
    for number, (name, column) in enumerate(zip(names, ("loss_nats", "other_loss_nats"), strict=True)):
        figure.add_bar(x=table["prompt"], y=table[column], name=name, marker_color=series(number))
    figure.update_xaxes(title="prompt", dtick=1 if len(table) <= 30 else None)
    figure.update_layout(yaxis_title="loss, nats per token", barmode="group")
    return figure


def _by_position(table: pd.DataFrame, names: tuple[str, str]) -> go.Figure:
    figure = go.Figure()
    _band(figure, table, "position", "kl_nats", 0)
    figure.update_layout(xaxis_title="position", yaxis_title=f"KL({names[0]} ‖ {names[1]}), nats", showlegend=False)
    return figure


def _streams(table: pd.DataFrame) -> go.Figure:
    figure = go.Figure()
    _band(figure, table, "place", "cosine", 0)
    figure.update_layout(xaxis_title="place in the stream", yaxis_title="cosine of the two streams", showlegend=False)
    return figure


def _band(figure: go.Figure, table: pd.DataFrame, along: str, column: str, number: int) -> None:
    high, low = table[f"{column}_high"] - table[column], table[column] - table[f"{column}_low"]
    error = {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "visible": bool(high.notna().all())}
    figure.add_scatter(
        x=table[along], y=table[column], error_y=error, mode="lines+markers", line_color=series(number), name=column
    )


def _weights(table: pd.DataFrame) -> go.Figure:
    shown = table.replace([np.inf], np.nan).nlargest(_BARS, "relative_change").sort_index()
    places = list(range(len(shown)))
    figure = go.Figure(go.Bar(x=places, y=shown["relative_change"], customdata=shown["cosine"]))
    figure.update_traces(hovertemplate="%{x}<br>|ΔW| / |W| %{y:.3g}<br>cosine %{customdata:.4f}<extra></extra>")
    figure.update_xaxes(title="parameter", tickvals=places, ticktext=list(shown["parameter"]), tickangle=-60)
    figure.update_layout(yaxis_title="|ΔW| / |W|")
    return figure
