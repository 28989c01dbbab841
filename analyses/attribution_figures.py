"""The figures of the attribution, each drawn from a table."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .colours import series


def layer_figure(layers: pd.DataFrame) -> go.Figure:
    """Bars in the order of the forward pass: the share of the true next token, and in grey that of the others."""
    return _bars(layers, "place", "place in the forward pass")


def neuron_figure(neurons: pd.DataFrame) -> go.Figure:
    """The same for the strongest neurons."""
    return _bars(neurons, "neuron", "neuron")


def _bars(table: pd.DataFrame, name: str, title: str) -> go.Figure:
    error = {
        "type": "data",
        "symmetric": False,
        "array": table["share_high"] - table["share_logits"],
        "arrayminus": table["share_logits"] - table["share_low"],
        "visible": bool(table["share_low"].notna().all()),
    }
    figure = go.Figure()
    figure.add_bar(
        x=table[name], y=table["share_logits"], error_y=error, name="true next token", marker_color=series(0)
    )
    figure.add_bar(
        x=table[name],
        y=table["share_elsewhere_logits"],
        name="next tokens elsewhere",
        marker={"color": series(7), "opacity": 0.6},
    )
    figure.update_layout(xaxis_title=title, yaxis_title="logits above the mean", barmode="group")
    return figure


def head_figure(components: pd.DataFrame) -> go.Figure:
    """Layer by head: how much more each head gives to the true next token than to the others."""
    heads = components[components["kind"] == "head"]
    column = "share_logits" if heads["beyond_logits"].isna().any() else "beyond_logits"
    n_layers = int(heads["layer"].max()) + 1
    shape = (n_layers, len(heads) // n_layers)
    grid = heads[column].to_numpy().reshape(shape)
    largest = float(np.abs(grid).max())
    figure = go.Figure(
        go.Heatmap(
            z=grid,
            x=[f"H{head}" for head in range(shape[1])],
            y=[f"L{layer}" for layer in range(shape[0])],
            text=[[f"{value:.2f}" for value in row] for row in grid],
            texttemplate="%{text}",
            customdata=heads[["component", "share_logits", "share_elsewhere_logits"]].to_numpy().reshape(*shape, 3),
            hovertemplate="%{customdata[0]}<br>true next token %{customdata[1]:.3f}<br>elsewhere "
            "%{customdata[2]:.3f}<extra></extra>",
            colorscale="RdBu_r",
            zmin=-largest,
            zmax=largest,
            colorbar={"title": "logits"},
        )
    )
    figure.update_layout(xaxis_title="head", yaxis_title="layer")
    figure.update_yaxes(type="category")
    return figure


def position_figure(by_position: pd.DataFrame) -> go.Figure:
    """Place by position: the share of the token that comes next there."""
    places = list(dict.fromkeys(by_position["place"]))
    shape = (len(places), len(by_position) // len(places))
    grid = by_position["share_logits"].to_numpy().reshape(shape)
    first = by_position.iloc[: shape[1]]
    largest = float(np.abs(grid).max())
    figure = go.Figure(
        go.Heatmap(
            z=grid,
            x=list(range(shape[1])),
            y=places,
            colorscale="RdBu_r",
            zmin=-largest,
            zmax=largest,
            colorbar={"title": "logits"},
            hovertemplate="%{y}, next token %{x}: %{z:.3f} logits<extra></extra>",
        )
    )
    ticks = [f"{position}: {token}" for position, token in zip(first["position"], first["next_token"], strict=True)]
    figure.update_xaxes(tickmode="array", tickvals=list(range(shape[1])), ticktext=ticks, tickangle=-60)
    figure.update_layout(xaxis_title="token that comes next after this position", yaxis_title="written by")
    figure.update_yaxes(autorange="reversed")
    return figure
