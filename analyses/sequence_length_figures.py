"""The figures of sequence length."""

import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp.cost import Cost

from .colours import series
from .forward_times import Times


def time_figure(table: pd.DataFrame, measured: Times) -> go.Figure:
    """Milliseconds by length, with the three parts that were fitted to the fused times."""
    figure = go.Figure()
    for number, (name, label) in enumerate((("fused", "fused attention"), ("with_patterns", "with the patterns"))):
        fastest = table[f"{name}_fastest_ms"]
        reach = _rounded(table[f"{name}_slowest_ms"] - fastest)
        figure.add_scatter(
            x=table["positions"], y=_rounded(fastest), name=f"{label}: fastest to slowest of {len(measured.fused)}",
            mode="markers", marker={"color": series(number), "size": 8},
            error_y={"type": "data", "symmetric": False, "array": reach, "arrayminus": [0.0] * len(reach), "width": 3},
        )  # fmt: skip
    parts = (("fitted_constant_ms", "constant"), ("fitted_T_ms", "T"), ("fitted_T_squared_ms", "T²"))
    for number, (column, label) in enumerate(parts):
        if table[column].iloc[-1] > 0:
            figure.add_scatter(
                x=table["positions"], y=_rounded(table[column]), name=f"fitted to fused: {label}", mode="lines",
                line={"dash": "dot", "color": series(2 + number)},
            )  # fmt: skip
    total = sum(table[column] for column, _ in parts)
    figure.add_scatter(
        x=table["positions"], y=_rounded(total), name="fitted to fused: sum", mode="lines",
        line={"color": series(0), "width": 1},
    )  # fmt: skip
    figure.update_xaxes(title="positions T", type="log")
    figure.update_yaxes(title="milliseconds, one prompt", type="log", range=_decades(table))
    return figure


def cost_figure(table: pd.DataFrame, flops: Cost, size: Cost) -> go.Figure:
    """Operations and bytes by length: the part with T, the part with T², and where they cross."""
    titles = ("operations of a forward pass", "bytes of all activations")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles)
    context = int(table.loc[table["fits_the_context"], "positions"].max())
    for column, (name, cost) in enumerate((("operations", flops), ("bytes", size)), start=1):
        for number, (part, label) in enumerate((("T", "part with T"), ("T_squared", "part with T²"))):
            figure.add_scatter(
                x=table["positions"], y=_rounded(table[f"{name}_{part}"]), name=label, legendgroup=label, mode="lines",
                showlegend=column == 1, line={"color": series(number)}, row=1, col=column,
            )  # fmt: skip
        both = f"equal at T = {cost.crossover:.0f}"
        figure.add_scatter(
            x=[cost.crossover], y=[cost.by_position * cost.crossover], mode="markers+text", text=[both],
            textposition="top left", showlegend=False, cliponaxis=False,
            marker={"color": series(2), "size": 9}, row=1, col=column, hovertemplate=f"{both}<extra></extra>",
        )  # fmt: skip
        # A line of its own and not plotly's: the label of that one is lost on a logarithmic axis.
        lowest, highest = _ends(table, name)
        figure.add_scatter(
            x=[context, context], y=[lowest, highest], mode="lines", name=f"context of {context}",
            legendgroup="context", showlegend=column == 1, line={"color": series(7), "width": 1, "dash": "dash"},
            row=1, col=column,
        )  # fmt: skip
        figure.update_xaxes(title="positions T", type="log", row=1, col=column)
        figure.update_yaxes(type="log", exponentformat="SI", row=1, col=column)
    figure.update_layout(legend={"orientation": "h", "yanchor": "top", "y": -0.25})
    return figure


def _decades(table: pd.DataFrame) -> list[float]:
    # A part that was fitted to nearly nothing would push all others into the upper edge of a logarithmic axis.
    low, high = float(table["fused_fastest_ms"].min()) / 10, 1.5 * float(table["with_patterns_slowest_ms"].max())
    return [math.log10(low), math.log10(high)]


def _ends(table: pd.DataFrame, name: str) -> tuple[float, float]:
    parts = table[[f"{name}_T", f"{name}_T_squared"]].to_numpy()
    return float(parts.min()), float(parts.max())


def _rounded(values: pd.Series) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
