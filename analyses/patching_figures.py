"""The figures of patching, each drawn from its table."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

SHARES = {"colorscale": "RdBu_r", "cmid": 0.0, "colorbar": {"title": "share"}}
CELL, BETWEEN, AROUND = 30, 44, 150
"""Pixels: the height of a layer, the room between two maps, and that for titles and tokens."""
_HOVER = "share %{z:.1%}<br>%{customdata}<extra></extra>"


def position_figure(table: pd.DataFrame, labels: tuple[str, ...]) -> go.Figure:
    """One map above the other, layer by position; cells that cannot matter have no value."""
    places = list(dict.fromkeys(table["place"]))
    # Room for a title between two maps, however low they are.
    drawn = CELL * len(table) // len(labels) + BETWEEN * (len(places) - 1)
    figure = make_subplots(
        rows=len(places), cols=1, subplot_titles=places, shared_xaxes=True, vertical_spacing=BETWEEN / drawn
    )
    for row, place in enumerate(places, start=1):
        of_place = table[table["place"] == place]
        layers = [f"L{layer}" for layer in dict.fromkeys(of_place["layer"])]
        shape = (len(layers), len(labels))
        figure.add_heatmap(
            z=_drawn(of_place).reshape(shape), y=layers, x=list(range(len(labels))), coloraxis="coloraxis",
            customdata=np.array(_hover(of_place)).reshape(shape), row=row, col=1,
            hovertemplate="%{y}, position %{x}<br>" + _HOVER,
        )  # fmt: skip
        figure.update_yaxes(autorange="reversed", row=row, col=1)
    ticks = {"tickmode": "array", "tickvals": list(range(len(labels))), "ticktext": list(labels), "tickangle": -60}
    figure.update_xaxes(**ticks)
    figure.update_layout(coloraxis=_axis(table), height=drawn + AROUND)
    return figure


def head_figure(table: pd.DataFrame) -> go.Figure:
    """Layer by head, all positions of a head patched at once."""
    layers = [f"L{layer}" for layer in dict.fromkeys(table["layer"])]
    shape = (len(layers), len(table) // len(layers))
    figure = go.Figure(
        go.Heatmap(
            z=_drawn(table).reshape(shape), y=layers, x=[f"H{head}" for head in range(shape[1])],
            coloraxis="coloraxis", customdata=np.array(_hover(table)).reshape(shape),
            text=_percent(table).reshape(shape), texttemplate="%{text}", hovertemplate="%{y}%{x}<br>" + _HOVER,
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(coloraxis=_axis(table), xaxis_title="head", yaxis_title="layer")
    return figure


def top_figure(table: pd.DataFrame) -> go.Figure:
    """The strongest writers as bars with intervals, the strongest on top."""
    error = {
        "type": "data",
        "symmetric": False,
        "array": table["share_high"] - table["share"],
        "arrayminus": table["share"] - table["share_low"],
    }
    figure = go.Figure(go.Bar(y=table["cell"], x=table["share"], error_x=error, orientation="h"))
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(xaxis_title="share of the difference between the runs (bars: 95 % over pairs)")
    return figure


def _drawn(table: pd.DataFrame) -> np.ndarray:
    values = table["share"].to_numpy()
    rounded = np.array([float(f"{value:.4g}") for value in values])
    return np.where(table["dead"], np.nan, rounded)


def _percent(table: pd.DataFrame) -> np.ndarray:
    return np.array([f"{value:.0%}" for value in table["share"]])


def _hover(table: pd.DataFrame) -> list[str]:
    return [
        "cannot matter" if row.dead
        else f"effect {row.effect:+.3g}" if pd.isna(row.share_low)
        else f"{row.share_low:.0%} to {row.share_high:.0%}, p {row.p_adjusted:.2g}"
        for row in table.itertuples(index=False)
    ]  # fmt: skip


def _axis(table: pd.DataFrame) -> dict[str, object]:
    # Never a scale so small that noise gets the colours of a finding.
    largest = max(1.0, float(table["share"].abs().max()))
    return {**SHARES, "cmin": -largest, "cmax": largest}
