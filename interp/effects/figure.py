"""Effects as a plotly figure: bars over one axis, maps over two, a map for each coordinate of the first over three."""

from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..errors import AxisError
from .effects import SIGNIFICANT, Effects
from .hover import hover
from .tick_labels import axis_title, labels, ticks

ABOVE, BELOW, DEAD = "#b2182b", "#2166ac", "#b8b8b8"
MARK = "•"
CELL, BETWEEN, AROUND = 26, 64, 190
"""Pixels: the least height of a row of cells, the room between two maps, and that for titles and labels."""


def figure(effects: Effects) -> go.Figure:
    """The mean effects; `Effects.figure` says how to read it."""
    match len(effects.axes):
        case 1:
            drawn = _bars(effects)
        case 2:
            drawn = _maps(effects, [""])
        case 3:
            first = effects.axes[0]
            drawn = _maps(effects, [f"{first} {at}" for at in effects.coordinates[0]])
        case n_axes:
            raise AxisError(
                f"a figure has one to three axes, not {n_axes} ({', '.join(effects.axes)}): fix some with sel"
            )
    drawn.update_layout(title={"text": _title(effects)}, margin={"t": 110})
    return drawn


def _bars(effects: Effects) -> go.Figure:
    mean, low, high = (of.numpy(force=True) for of in (effects.mean, effects.effect.low, effects.effect.high))
    dead, marked = effects.dead.numpy(force=True), effects.significant.numpy(force=True)
    at = np.arange(len(mean))
    error = {"type": "data", "symmetric": False, "array": high - mean, "arrayminus": mean - low, "thickness": 1}
    bars = go.Bar(
        x=at[~dead], y=mean[~dead], error_y={name: _live(value, dead) for name, value in error.items()},
        customdata=hover(effects)[~dead], hovertemplate="%{customdata}<extra></extra>",
        marker={"color": np.where(mean > 0, ABOVE, BELOW)[~dead]},
    )  # fmt: skip
    drawn = go.Figure(bars)
    # Beyond the interval, so that the mark does not stand on its line.
    ends = np.where(mean > 0, np.fmax(mean, high), np.fmin(mean, low))
    _add_text(drawn, at[marked], ends[marked], MARK, np.where(mean > 0, "top center", "bottom center")[marked])
    _add_text(drawn, at[dead], np.zeros(int(dead.sum())), "×", "middle center", color=DEAD)
    drawn.update_xaxes(title=axis_title(effects, 0), **ticks(labels(effects, 0)))
    drawn.update_yaxes(zerolinecolor="#444444", title=escape(f"effect on the {effects.metric}", quote=False))
    return drawn.update_layout(showlegend=False, plot_bgcolor="white")


def _live(value: Any, dead: np.ndarray) -> Any:
    return value[~dead] if isinstance(value, np.ndarray) else value


def _add_text(drawn: go.Figure, x: np.ndarray, y: np.ndarray, text: str, where: Any, color: str | None = None) -> None:
    drawn.add_scatter(
        x=x, y=y, mode="text", text=[text] * len(x), textposition=where, hoverinfo="skip",
        textfont={"color": color, "size": 18},
    )  # fmt: skip


def _maps(effects: Effects, titles: list[str]) -> go.Figure:
    shape = (len(titles), *effects.mean.shape[-2:])
    dead = effects.dead.numpy(force=True).reshape(shape)
    mean = np.where(dead, np.nan, effects.mean.numpy(force=True).reshape(shape))
    marks = np.where(effects.significant.numpy(force=True), MARK, "").reshape(shape)
    tips = hover(effects).reshape(shape)
    n_columns = max(1, min(len(titles), 64 // (shape[2] + 4)))
    n_rows = -(-len(titles) // n_columns)
    height = max(CELL * shape[1], 120) * n_rows + BETWEEN * (n_rows - 1)
    drawn = make_subplots(
        rows=n_rows, cols=n_columns, subplot_titles=titles, shared_xaxes="all", shared_yaxes="all",
        vertical_spacing=BETWEEN / height if n_rows > 1 else 0.0, horizontal_spacing=0.04,
    )  # fmt: skip
    for number in range(len(titles)):
        row, column = number // n_columns + 1, number % n_columns + 1
        drawn.add_heatmap(
            z=mean[number], text=marks[number], texttemplate="%{text}", textfont={"size": 16}, customdata=tips[number],
            hovertemplate="%{customdata}<extra></extra>", coloraxis="coloraxis", xgap=1, ygap=1, row=row, col=column,
        )  # fmt: skip
    drawn.update_xaxes(showgrid=False, zeroline=False, **ticks(labels(effects, -1)))
    drawn.update_yaxes(showgrid=False, zeroline=False, **ticks(labels(effects, -2)), autorange="reversed")
    drawn.update_yaxes(title=axis_title(effects, -2), col=1)
    for number in range(max(0, len(titles) - n_columns), len(titles)):
        # The lowest map of each column, which need not be in the last row.
        at = {"row": number // n_columns + 1, "col": number % n_columns + 1}
        drawn.update_xaxes(showticklabels=True, title=axis_title(effects, -1), **at)
    return drawn.update_layout(coloraxis=_colours(effects), plot_bgcolor=DEAD, height=height + AROUND)


def _colours(effects: Effects) -> dict[str, Any]:
    # Never a scale so small that rounding gets the colours of a finding.
    largest = max(float(effects.mean.abs().max()), 0.1 * abs(float(effects.gap.mean())))
    return {
        "colorscale": "RdBu_r",
        "cmin": -largest,
        "cmid": 0.0,
        "cmax": largest,
        "colorbar": {"title": {"text": "effect"}, "lenmode": "pixels", "len": 150, "y": 1, "yanchor": "top"},
    }


def _title(effects: Effects) -> str:
    fixed = "".join(f", {axis} {at}" for axis, at in effects.fixed)
    what = f"{effects.intervention} at {effects.point}{fixed} ({effects.direction}): effect on the {effects.metric}"
    n_tests, n_dead = int((~effects.dead).sum()), int(effects.dead.sum())
    if effects.smallest_p < SIGNIFICANT:
        read = f"{MARK} p < {SIGNIFICANT}, adjusted for {n_tests} cell{'s' * (n_tests != 1)}"
    else:
        read = f"no cell can be marked: with so few prompts p is at least {effects.smallest_p:.2g}"
    if n_dead:
        read += f"; {'×' if len(effects.axes) == 1 else 'grey'}: {n_dead} cell{'s' * (n_dead != 1)} cannot matter"
    return f"{escape(what, quote=False)}<br><sub>{read}</sub>"
