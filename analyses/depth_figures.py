"""The figures of depth, each drawn from a table."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .colours import series
from .depth_tables import AVERAGED, AVERAGED_ALONE, FRESH, GIVEN

_COLOUR = {GIVEN: 0, FRESH: 1, AVERAGED: 2, AVERAGED_ALONE: 7}
_DASH = {GIVEN: "solid", FRESH: "solid", AVERAGED: "dot", AVERAGED_ALONE: "dot"}


def likeness_figure(table: pd.DataFrame) -> go.Figure:
    """Four measures of how alike positions are, by depth, one line for each set of weights."""
    panels = {
        "mean_cosine": "mean cosine",
        "centred_cosine": "cosine, centred on other prompts",
        "relative_residual": "relative residual",
        "effective_rank": "effective rank",
    }
    panels = {measure: title for measure, title in panels.items() if table[measure].notna().any()}
    figure = make_subplots(rows=2, cols=2, subplot_titles=list(panels.values()), vertical_spacing=0.2)
    for number, measure in enumerate(panels):
        for weights, rows in table.groupby("weights", sort=False):
            _add_line(figure, rows, measure, str(weights), number // 2 + 1, number % 2 + 1, number == 0)
    figure.update_layout(height=560, legend={"orientation": "h", "yanchor": "top", "y": -0.12})
    return figure


def stream_figure(table: pd.DataFrame) -> go.Figure:
    """The length of the stream with the law of initialisation, and the gradient, by depth."""
    gradient = bool(table["gradient_over_the_last"].notna().any())
    titles = ["length of the stream", *(["gradient, over that at the end"] if gradient else [])]
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=titles)
    for weights, rows in table.groupby("weights", sort=False):
        name = str(weights)
        _add_line(figure, rows, "length", name, 1, 1, True)
        if rows["length_at_right_angles"].notna().all():
            figure.add_scatter(
                x=rows["after"], y=_rounded(rows["length_at_right_angles"]), mode="lines", legendgroup=name,
                name=f"{name}, if blocks wrote at right angles", row=1, col=1,
                line={"color": series(_COLOUR[name]), "dash": "dot"},
            )  # fmt: skip
        if gradient:
            _add_line(figure, rows, "gradient_over_the_last", name, 1, 2, False)
    for column in range(1, len(titles) + 1):
        figure.update_yaxes(type="log", row=1, col=column)
    figure.update_layout(legend={"orientation": "h", "yanchor": "top", "y": -0.15})
    return figure


def skip_figure(table: pd.DataFrame) -> go.Figure:
    """What leaving out each block costs."""
    figure = go.Figure()
    names = (("loss_increase_nats", "increase of the loss"), ("kl_nats", "KL(model || without the block)"))
    for number, (column, label) in enumerate(names):
        if table[column].isna().all():
            continue
        error = {"type": "data", "symmetric": False, **_reach(table, column)}
        figure.add_bar(
            x=[f"block {block}" for block in table["block"]], y=_rounded(table[column]), error_y=error, name=label,
            marker={"color": series(number)},
        )  # fmt: skip
    figure.update_layout(yaxis_title="nats a token (bars: 95 % over prompts)", barmode="group")
    return figure


def _add_line(
    figure: go.Figure, rows: pd.DataFrame, column: str, name: str, row: int, col: int, in_legend: bool
) -> None:
    error = {"type": "data", "symmetric": False, "thickness": 1, "width": 3, **_reach(rows, column)}
    figure.add_scatter(
        x=rows["after"], y=_rounded(rows[column]), error_y=error if name in (GIVEN, FRESH) else None, name=name,
        mode="lines+markers" if _DASH[name] == "solid" else "lines", legendgroup=name, showlegend=in_legend,
        line={"color": series(_COLOUR[name]), "dash": _DASH[name]}, row=row, col=col,
    )  # fmt: skip


def _reach(rows: pd.DataFrame, column: str) -> dict[str, list[float]]:
    high, low = rows[f"{column}_high"] - rows[column], rows[column] - rows[f"{column}_low"]
    return {"array": _rounded(high), "arrayminus": _rounded(low)}


def _rounded(values: pd.Series) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
