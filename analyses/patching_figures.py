"""The figures of patching, each drawn from its table."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

SHARES = {"colorscale": "RdBu_r", "cmid": 0.0, "colorbar": {"title": "share"}}
CELL, BETWEEN, AROUND = 30, 44, 150
"""Pixels: the height of a layer, the room between two maps, and that for titles and tokens."""
MARK = "●"
"""Stands at cells that are beyond chance."""
FAINT = 0.35
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
        _mark(figure, of_place, row)
        # Dots would let an axis reach beyond its cells.
        figure.update_yaxes(range=[len(layers) - 0.5, -0.5], showgrid=False, row=row, col=1)
    ticks = {"tickmode": "array", "tickvals": list(range(len(labels))), "ticktext": list(labels), "tickangle": -60}
    figure.update_xaxes(**ticks, range=[-0.5, len(labels) - 0.5], showgrid=False)
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
            text=_marked_percent(table).reshape(shape), texttemplate="%{text}", hovertemplate="%{y}%{x}<br>" + _HOVER,
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(coloraxis=_axis(table))
    return figure


def top_figure(table: pd.DataFrame) -> go.Figure:
    """The strongest writers as bars with intervals, the strongest on top."""
    error = {
        "type": "data",
        "symmetric": False,
        "array": table["share_high"] - table["share"],
        "arrayminus": table["share"] - table["share_low"],
    }
    opacity = np.where(table["beyond_chance"], 1.0, FAINT)
    known = [_known(row) for row in table.itertuples(index=False)]
    figure = go.Figure(
        go.Bar(
            y=table["cell"], x=table["share"], error_x=error, orientation="h", marker_opacity=opacity,
            customdata=known,
            hovertemplate="%{y}<br>share %{x:.1%}<br>%{customdata}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(xaxis_title="share of the difference (lines: 95 % over pairs; faint: not beyond chance)")
    return figure


def _mark(figure: go.Figure, table: pd.DataFrame, row: int) -> None:
    """A dot on each cell that is beyond chance; dark with a light rim, it is seen on every colour."""
    marked = table[table["beyond_chance"]]
    figure.add_scatter(
        x=marked["position"], y=[f"L{layer}" for layer in marked["layer"]], mode="markers",
        marker={"size": 6, "color": "#111", "line": {"color": "#fff", "width": 1}}, hoverinfo="skip",
        showlegend=False, row=row, col=1,
    )  # fmt: skip


def _drawn(table: pd.DataFrame) -> np.ndarray:
    values = table["share"].to_numpy()
    rounded = np.array([float(f"{value:.4g}") for value in values])
    return np.where(table["dead"], np.nan, rounded)


def _marked_percent(table: pd.DataFrame) -> np.ndarray:
    # Plus zero, so that no share is "-0%".
    percents = [f"{round(share, 2) + 0.0:.0%}" for share in table["share"]]
    marks = [f"{MARK} " if certain else "" for certain in table["beyond_chance"]]
    return np.array([mark + percent for mark, percent in zip(marks, percents, strict=True)])


def _hover(table: pd.DataFrame) -> list[str]:
    return ["cannot matter" if row.dead else _known(row) for row in table.itertuples(index=False)]


def _known(row: Any) -> str:
    if pd.isna(row.share_low):
        return f"effect {row.effect:+.3g}"
    certain = ", beyond chance" if row.beyond_chance else ""
    return f"{row.share_low:.0%} to {row.share_high:.0%}, p {row.p_adjusted:.2g}{certain}"


def _axis(table: pd.DataFrame) -> dict[str, object]:
    # Never a scale so small that noise gets the colours of a finding.
    largest = max(1.0, float(table["share"].abs().max()))
    return {**SHARES, "cmin": -largest, "cmax": largest}
