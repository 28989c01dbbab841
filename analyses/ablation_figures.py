"""The figures of ablation, each drawn from its table."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

BARS = 16
MARK = "●"
"""Stands at components whose effect is beyond chance."""
FAINT = 0.35
ROOM = 6
"""Characters of a number beside the mark, in a cell."""


def map_figure(table: pd.DataFrame) -> go.Figure:
    """Block by component: what the loss grows by without it."""
    layers = list(dict.fromkeys(table["layer"]))
    columns = list(dict.fromkeys(_place(name) for name in table["component"]))
    grid = np.full((len(layers), len(columns)), np.nan)
    hover, text = np.full(grid.shape, "", dtype=object), np.full(grid.shape, "", dtype=object)
    for row in table.itertuples(index=False):
        at = (layers.index(row.layer), columns.index(_place(row.component)))
        grid[at] = float(f"{row.loss_increase_nats:.4g}")
        certain = ", beyond chance" if row.beyond_chance else ""
        hover[at] = (
            f"{row.component}: {row.loss_increase_nats:+.3g} nats{_interval(row)}, p {row.p_adjusted:.2g}{certain}"
        )
        text[at] = (MARK if row.beyond_chance else "") + _short(row.loss_increase_nats)
    # The MLPs often cost many times what any head does; colours follow the heads, and say so where they end.
    heads = table[table["kind"] == "head"]["loss_increase_nats"].abs()
    largest = float(max(heads.max(), 1e-9))
    figure = go.Figure(
        go.Heatmap(
            z=grid, x=columns, y=[f"L{layer}" for layer in layers], text=text,
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
    """The strongest heads and MLPs as bars with intervals, each kind on its own scale; what may be chance is faint."""
    name = "loss_increase_nats"
    kinds = [kind for kind in ("head", "MLP") if (table["kind"] == kind).any()]
    titles = {"head": "Heads", "MLP": "MLPs"}
    figure = make_subplots(rows=1, cols=len(kinds), subplot_titles=[titles[kind] for kind in kinds])
    for column, kind in enumerate(kinds, start=1):
        of_kind = table[table["kind"] == kind]
        rows = of_kind.loc[of_kind[name].abs().sort_values(ascending=False, kind="stable").index[:BARS]]
        figure.add_bar(
            y=rows["component"], x=rows[name], error_x=_error(rows, name), orientation="h", showlegend=False,
            marker_opacity=np.where(rows["beyond_chance"], 1.0, FAINT), row=1, col=column,
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="increase of the loss, nats")
    return figure


def layer_figure(table: pd.DataFrame) -> go.Figure:
    """All heads of a block at once beside the sum of what each costs alone."""
    return _pairs(table, {"all at once": "together_nats", "sum of each alone": "sum_of_singles_nats"})


def shapley_figure(table: pd.DataFrame) -> go.Figure:
    """The share of each in the joint effect beside what it costs alone; last, the joint effect and the sum."""
    return _pairs(table, {"share (last: all at once)": "share_nats", "alone (last: sum)": "alone_nats"})


def _pairs(table: pd.DataFrame, bars: dict[str, str]) -> go.Figure:
    figure = go.Figure()
    for name, values in bars.items():
        figure.add_bar(x=table["taken_out"], y=table[values], error_y=_error(table, values), name=name)
    figure.update_layout(barmode="group", yaxis_title="increase of the loss, nats (bars: 95 %)")
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
    two = f"{value:+.2g}"
    return two if len(two) <= ROOM else f"{value:+.1g}"


def _interval(row: object) -> str:
    low, high = row.loss_increase_nats_low, row.loss_increase_nats_high  # type: ignore[attr-defined]
    return "" if pd.isna(low) else f" ({low:+.3g} to {high:+.3g})"
