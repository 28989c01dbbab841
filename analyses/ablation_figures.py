"""The figures of ablation, each drawn from its table."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

BARS = 16


def map_figure(table: pd.DataFrame) -> go.Figure:
    """Block by component: what the loss grows by without it."""
    layers = list(dict.fromkeys(table["layer"]))
    columns = list(dict.fromkeys(_place(name) for name in table["component"]))
    grid = np.full((len(layers), len(columns)), np.nan)
    hover = np.full(grid.shape, "", dtype=object)
    for row in table.itertuples(index=False):
        at = (layers.index(row.layer), columns.index(_place(row.component)))
        grid[at] = float(f"{row.loss_increase_nats:.4g}")
        hover[at] = f"{row.component}: {row.loss_increase_nats:+.3g} nats{_interval(row)}, p {row.p_adjusted:.2g}"
    # The MLPs often cost many times what any head does; colours follow the heads, and say so where they end.
    heads = table[table["kind"] == "head"]["loss_increase_nats"].abs()
    largest = float(max(heads.max(), 1e-9))
    figure = go.Figure(
        go.Heatmap(
            z=grid, x=columns, y=[f"L{layer}" for layer in layers], text=np.vectorize(_short)(grid),
            texttemplate="%{text}", hovertext=hover, hovertemplate="%{hovertext}<extra></extra>",
            coloraxis="coloraxis",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", title="layer")
    figure.update_layout(
        coloraxis={
            "colorscale": "RdBu_r", "cmid": 0.0, "cmin": -largest, "cmax": largest,
            "colorbar": {"title": "loss, nats"},
        }
    )  # fmt: skip
    return figure


def component_figure(table: pd.DataFrame) -> go.Figure:
    """The strongest components as bars with intervals."""
    order = table["loss_increase_nats"].abs().sort_values(ascending=False, kind="stable").index[:BARS]
    rows = table.loc[order]
    name = "loss_increase_nats"
    figure = go.Figure(go.Bar(y=rows["component"], x=rows[name], error_x=_error(rows, name), orientation="h"))
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(xaxis_title="increase of the loss, nats (bars: 95 % over prompts)")
    return figure


def together_figure(layers: pd.DataFrame, together: pd.DataFrame) -> go.Figure:
    """Left, all heads of a block at once beside the sum of the singles; right, alone beside the share."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=["Heads of a block", "Several at once"])
    parts = (
        (layers, (("together", "together_nats"), ("sum of singles", "sum_of_singles_nats"))),
        (together, (("share (last: together)", "share_nats"), ("alone (last: their sum)", "alone_nats"))),
    )
    for column, (table, bars) in enumerate(parts, start=1):
        for name, values in bars:
            figure.add_bar(
                x=table["taken_out"], y=table[values], error_y=_error(table, values), name=name, row=1, col=column
            )
    figure.update_yaxes(title="increase of the loss, nats", row=1, col=1)
    figure.update_layout(barmode="group")
    return figure


def _error(rows: pd.DataFrame, name: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": rows[f"{name}_high"] - rows[name],
        "arrayminus": rows[name] - rows[f"{name}_low"],
    }


def _place(component: str) -> str:
    return component[component.index("MLP" if component.endswith("MLP") else "H") :]


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:+.2g}"


def _interval(row: object) -> str:
    low, high = row.loss_increase_nats_low, row.loss_increase_nats_high  # type: ignore[attr-defined]
    return "" if pd.isna(low) else f" ({low:+.3g} to {high:+.3g})"
