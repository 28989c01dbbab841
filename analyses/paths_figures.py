"""The figures of the path expansion, each drawn from a table."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .colours import series


def order_figure(orders: pd.DataFrame) -> go.Figure:
    """A bar for what each order takes off the loss."""
    shown = orders.iloc[1:]
    error = {
        "type": "data",
        "symmetric": False,
        "array": shown["worth_nats_high"] - shown["worth_nats"],
        "arrayminus": shown["worth_nats"] - shown["worth_nats_low"],
        "visible": bool(shown["worth_nats_low"].notna().all()),
    }
    figure = go.Figure(
        go.Bar(
            x=shown["kept_up_to"],
            y=shown["worth_nats"],
            error_y=error,
            marker_color=series(0),
            customdata=shown["loss_nats"],
            hovertemplate="%{x}: worth %{y:.3f} nats<br>loss with them %{customdata:.3f} nats<extra></extra>",
        )
    )
    figure.update_layout(xaxis_title="paths added", yaxis_title="taken off the loss, nats")
    return figure


def head_figure(heads: pd.DataFrame) -> go.Figure:
    """A bar for each head: the loss that leaving out its own path costs."""
    error = {
        "type": "data",
        "symmetric": False,
        "array": heads["loss_increase_nats_high"] - heads["loss_increase_nats"],
        "arrayminus": heads["loss_increase_nats"] - heads["loss_increase_nats_low"],
        "visible": bool(heads["loss_increase_nats_low"].notna().all()),
    }
    layers = list(dict.fromkeys(head.partition("H")[0] for head in heads["head"]))
    colours = [series(layers.index(head.partition("H")[0])) for head in heads["head"]]
    figure = go.Figure(go.Bar(x=heads["head"], y=heads["loss_increase_nats"], error_y=error, marker_color=colours))
    figure.update_layout(xaxis_title="head whose own path is left out", yaxis_title="loss increase, nats")
    return figure


def virtual_figure(virtual: pd.DataFrame) -> go.Figure:
    """Earlier by later head: what leaving out the virtual head costs; to first order unless each was left out."""
    exact = "loss_increase_nats" in virtual and bool(virtual["loss_increase_nats"].notna().all())
    grid = virtual.pivot(index="earlier", columns="later", values="loss_increase_nats" if exact else "first_order_nats")
    earlier, later = (sorted(names, key=_place) for names in (grid.index, grid.columns))
    values = grid.reindex(index=earlier, columns=later).to_numpy()
    largest = float(np.nanmax(np.abs(values)))
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=later,
            y=earlier,
            colorscale="RdBu_r",
            zmin=-largest,
            zmax=largest,
            colorbar={"title": "nats" if exact else "nats, to<br>first order"},
            hovertemplate="%{y} then %{x}: %{z:.4f} nats<extra></extra>",
        )
    )
    figure.update_layout(xaxis_title="later head", yaxis_title="earlier head")
    return figure


def _place(name: str) -> tuple[int, int]:
    layer, _, head = name.removeprefix("L").partition("H")
    return int(layer), int(head)
