"""The figures of the attention patterns. Weights are drawn in whole per cent, which is all that a colour shows."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.colors import get_colorscale
from plotly.subplots import make_subplots
from torch import Tensor

from .colours import series


def mosaic_figure(attention: Float[Tensor, "head query key"], n_heads: int) -> go.Figure:
    """Every head's pattern as a tile: a row of tiles is a layer, a column a head."""
    shown = attention.shape[1]
    n_layers = len(attention) // n_heads
    tiles = _per_cent(attention).reshape(n_layers, n_heads, shown, shown)
    mosaic = tiles.transpose(0, 2, 1, 3).reshape(n_layers * shown, n_heads * shown)
    figure = go.Figure(
        go.Heatmap(
            z=mosaic, zmin=0, zmax=100, colorscale=_square_root_scale(), colorbar={"title": "attention, %"},
            hovertemplate="%{z} %<extra></extra>",
        )
    )  # fmt: skip
    for axis, n, letter in ((figure.update_xaxes, n_heads, "H"), (figure.update_yaxes, n_layers, "L")):
        middles = [(at + 0.5) * shown - 0.5 for at in range(n)]
        axis(tickmode="array", tickvals=middles, ticktext=[f"{letter}{at}" for at in range(n)])
    figure.update_yaxes(autorange="reversed")
    for at in range(1, n_heads):
        figure.add_vline(x=at * shown - 0.5, line_color="#9a9a9a", line_width=1)
    for at in range(1, n_layers):
        figure.add_hline(y=at * shown - 0.5, line_color="#9a9a9a", line_width=1)
    figure.update_xaxes(title="head; within a tile, the key")
    figure.update_yaxes(title="layer; within a tile, the query")
    figure.update_layout(height=max(240, min(900, 130 + 130 * n_layers)))
    return figure


def head_figure(
    attention: Float[Tensor, "head query key"],
    weighted: Float[Tensor, "head query key"],
    labels: list[str],
    names: list[str],
    chosen: list[int],
    first: int,
) -> go.Figure:
    """One head at a time, chosen from a list: its attention, and beside it how much is read."""
    titles = ("attention, %", "value-weighted, %")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    ticks = [f"{position}: {label}" for position, label in enumerate(labels)]
    for head in chosen:
        for column, values in enumerate((attention, weighted), start=1):
            figure.add_heatmap(
                z=_per_cent(values[head]), visible=head == first, coloraxis="coloraxis", name=names[head],
                hovertemplate="query %{y}<br>key %{x}<br>%{z} %<extra>" + names[head] + "</extra>", row=1, col=column,
            )  # fmt: skip
    places = list(range(len(ticks)))
    figure.update_xaxes(tickmode="array", tickvals=places, ticktext=ticks, tickangle=-90, title="key")
    figure.update_yaxes(tickmode="array", tickvals=places, ticktext=ticks, autorange="reversed")
    figure.update_yaxes(title="query", row=1, col=1)
    figure.update_layout(
        coloraxis={"colorscale": _square_root_scale(), "cmin": 0, "cmax": 100, "colorbar": {"title": "%"}},
        updatemenus=[_menu(names, chosen, first)],
        height=220 + 16 * len(ticks),
        margin={"t": 90},
    )
    return figure


def entropy_figure(heads: pd.DataFrame) -> go.Figure:
    """The effective number of keys of each head with its interval, beside that of even attention."""
    known = bool(heads["effective_keys_low"].notna().all())
    error = {
        "type": "data",
        "symmetric": False,
        "array": (heads["effective_keys_high"] - heads["effective_keys"]).round(4),
        "arrayminus": (heads["effective_keys"] - heads["effective_keys_low"]).round(4),
        "visible": known,
    }
    figure = go.Figure(
        go.Bar(x=heads["head"], y=heads["effective_keys"].round(4), error_y=error, name="head", marker_color=series(0))
    )
    figure.add_scatter(
        x=heads["head"], y=heads["even_keys"].round(4), mode="markers", name="even attention",
        marker={"symbol": "line-ew-open", "size": 16, "color": series(7), "line": {"width": 2}},
    )  # fmt: skip
    figure.update_layout(xaxis_title="head", yaxis_title="keys looked at (exp of entropy; bars: 95 %)")
    return figure


def _menu(names: list[str], chosen: list[int], first: int) -> dict[str, object]:
    buttons = [
        {"label": names[head], "method": "restyle", "args": [{"visible": [at == head for at in chosen for _ in "ab"]}]}
        for head in chosen
    ]
    # Plotly paints the open list nearly white in either scheme, so the text is dark enough for that, and light enough
    # for a dark page.
    return {
        "buttons": buttons, "active": chosen.index(first), "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom",
        "pad": {"b": 34}, "bgcolor": "#e9edf2", "bordercolor": "#9aa3ad", "font": {"color": "#1d2733"},
    }  # fmt: skip


def _per_cent(values: Float[Tensor, "*axes"]) -> np.ndarray:
    return (100 * values).round().clamp(0, 100).cpu().numpy().astype(np.uint8)


def _square_root_scale() -> list[list[object]]:
    colours = [colour for _, colour in get_colorscale("Viridis")]
    last = len(colours) - 1
    return [[(at / last) ** 2, colour] for at, colour in enumerate(colours)]
