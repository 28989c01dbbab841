"""The figures of the glance, each drawn from a table."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .at_a_glance_measures import Glance
from .colours import series

_BINS = 25
_ORDER = ("W_E", "W_pos", "W_Q", "W_K", "W_V", "W_O", "W_gate", "W_in", "W_out", "W_U")
"""The matrices in the order in which the stream meets them."""


def length_figure(streams: pd.DataFrame, writes: pd.DataFrame) -> go.Figure:
    """The length of the stream, and of what each branch writes into it, along the depth."""
    figure = go.Figure()
    figure.add_scatter(
        x=streams["place"], y=_rounded(streams["length"]), name="stream", mode="lines+markers",
        error_y=_reach(streams, "length"), line={"color": series(0)},
    )  # fmt: skip
    for number, kind in enumerate(("attn", "mlp"), start=1):
        rows = writes[writes["branch"].str.endswith(kind)]
        if len(rows):
            figure.add_scatter(
                x=[_place_after(branch, streams) for branch in rows["branch"]], y=_rounded(rows["length"]),
                name=f"written by {'attention' if kind == 'attn' else 'MLP'}", mode="markers+text",
                marker={"color": series(number), "size": 9, "symbol": "square"},
                error_y=_reach(rows, "length"), text=[f"{ratio:.2g}×" for ratio in rows["over_what_it_read"]],
                hovertemplate="%{x}: %{y:.3g}, %{text} the stream it read<extra></extra>", textposition="top center",
            )  # fmt: skip
    figure.update_layout(legend={"orientation": "h", "yanchor": "top", "y": -0.25})
    figure.update_xaxes(title="place in the stream", categoryorder="array", categoryarray=list(streams["place"]))
    figure.update_yaxes(title="mean length |x|", type="log")
    return figure


def _place_after(branch: str, streams: pd.DataFrame) -> str:
    layer, kind = branch.split()
    middle = f"{layer} mid"
    return middle if kind == "attn" and middle in set(streams["place"]) else f"{layer} post"


def entropy_figure(heads: pd.DataFrame, n_layers: int) -> go.Figure:
    """Each head's entropy as a share of ln n."""
    grid = heads["entropy_share"].to_numpy().reshape(n_layers, -1)
    text = [[f"{value:.2f}" if np.isfinite(value) else "" for value in row] for row in grid]
    figure = go.Figure(
        go.Heatmap(
            z=[_rounded(row) for row in grid], text=text, texttemplate="%{text}", zmin=0, zmax=1, colorscale="Viridis",
            x=[f"head {head}" for head in range(grid.shape[1])], y=[f"block {layer}" for layer in range(n_layers)],
            colorbar={"title": "of ln n"}, hovertemplate="%{y}, %{x}: %{z:.3f} of ln n<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    return figure


def dimension_figure(seen: Glance, streams: pd.DataFrame, times: float) -> go.Figure:
    """The size of each dimension against the median one, largest first, at the start, the middle and the end."""
    figure = go.Figure()
    n_places = len(seen.places)
    for number, at in enumerate(sorted({0, n_places // 2, n_places - 1})):
        sizes = seen.places[at].sizes
        relative, order = (sizes / sizes.median()).sort(descending=True)
        figure.add_scatter(
            x=list(range(1, len(order) + 1)), y=_rounded(relative.cpu().numpy()), mode="lines",
            line={"color": series(number)},
            customdata=order.tolist(), hovertemplate="dimension %{customdata}: %{y:.3g} × the median<extra></extra>",
            name=f"{streams['place'].iloc[at]} (kurtosis {streams['kurtosis'].iloc[at]:.1f})",
        )  # fmt: skip
    # A line of its own and not plotly's: the label of that one is lost on a logarithmic axis.
    figure.add_scatter(
        x=[1, len(seen.places[0].sizes)], y=[times, times], mode="lines", name=f"outlier: {times:g} × median",
        line={"color": series(7), "dash": "dash", "width": 1}, hoverinfo="skip",
    )  # fmt: skip
    figure.update_xaxes(title="dimensions, largest first", type="log")
    figure.update_yaxes(title="size over the median dimension", type="log")
    return figure


def firing_figure(seen: Glance) -> go.Figure:
    """How often neurons fire, layer by layer; the first bar of a layer holds those that never did."""
    figure = go.Figure()
    edges = np.linspace(0, 1, _BINS + 1)
    middles = [0.0, *_rounded((edges[:-1] + edges[1:]) / 2)]
    for layer, firing in enumerate(seen.firing):
        rates = firing.rate.numpy(force=True)
        counts = np.histogram(rates[rates > 0], bins=edges)[0]
        shares = np.array([int(firing.dead.sum()), *counts]) / len(rates)
        figure.add_scatter(
            x=middles, y=_rounded(shares), name=f"block {layer}", mode="lines+markers", line={"color": series(layer)},
            hovertemplate="rate about %{x:.2f}: %{y:.1%} of the neurons<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="share of tokens on which a neuron fires (0: never)")
    figure.update_yaxes(title="share of the neurons", tickformat=".0%")
    return figure


def weight_figure(weights: pd.DataFrame) -> go.Figure:
    """The effective rank of each matrix against a random one of its shape."""
    rows = weights.assign(row=["outside" if layer == "" else f"block {layer}" for layer in weights["layer"]])
    columns = sorted(set(rows["matrix"]), key=_ORDER.index)
    grid = rows.pivot(index="row", columns="matrix", values="share_of_random").reindex(
        index=list(dict.fromkeys(rows["row"])), columns=columns
    )
    values = grid.to_numpy()
    figure = go.Figure(
        go.Heatmap(
            z=[_rounded(row) for row in values], x=columns, y=list(grid.index), zmin=0, zmax=1, colorscale="Viridis",
            text=[[f"{value:.2f}" if np.isfinite(value) else "" for value in row] for row in values],
            texttemplate="%{text}", colorbar={"title": "of random"},
            hovertemplate="%{x}, %{y}: effective rank %{z:.3f} of a random matrix's<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    return figure


def _reach(rows: pd.DataFrame, column: str) -> dict[str, object]:
    high, low = rows[f"{column}_high"] - rows[column], rows[column] - rows[f"{column}_low"]
    return {"type": "data", "symmetric": False, "array": _rounded(high), "arrayminus": _rounded(low)}


def _rounded(values: "pd.Series | np.ndarray") -> list[float]:
    return [float(f"{value:.4g}") for value in values]
