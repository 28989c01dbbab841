"""The figures of the head detectors, each drawn from the table of heads."""

import pandas as pd
import plotly.graph_objects as go

from .colours import series
from .head_tables import COPYING

QUIET = "#8a8f98"
"""The colour of intervals and nulls, legible on light and dark."""

BEST = 4
"""How many heads of each kind are drawn with their intervals."""


def score_figure(table: pd.DataFrame) -> go.Figure:
    """Heads by detector, the attention on what the kind looks at."""
    looking = table[table["kind"] != COPYING]
    grid = looking.pivot(index="kind", columns="head", values="score")
    kinds, heads = list(dict.fromkeys(looking["kind"])), list(dict.fromkeys(looking["head"]))
    grid = grid.reindex(index=kinds, columns=heads).round(4)
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy(), x=heads, y=kinds, zmin=0, zmax=1, colorscale="Viridis", xgap=1, ygap=1,
            colorbar={"title": "attention"}, hovertemplate="%{x}, %{y}: %{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(tickmode="array", tickvals=heads, ticktext=heads, title="head")
    figure.update_yaxes(autorange="reversed")
    return figure


def best_figure(table: pd.DataFrame) -> go.Figure:
    """The best heads of each kind with their intervals, and the null beside each."""
    figure = go.Figure()
    looking = table[table["kind"] != COPYING]
    ticks: list[str] = []
    nulls: list[float] = []
    for number, (kind, rows) in enumerate(looking.groupby("kind", sort=False)):
        best = rows.nlargest(BEST, "score")
        places = list(range(len(ticks), len(ticks) + len(best)))
        ticks += best["head"].tolist()
        nulls += best["null"].tolist()
        error = {
            "type": "data",
            "symmetric": False,
            "array": (best["high"] - best["score"]).round(4),
            "arrayminus": (best["score"] - best["low"]).round(4),
        }
        figure.add_bar(
            x=places, y=best["score"].round(4), error_y=error, name=str(kind), marker_color=series(number),
            customdata=best["head"], hovertemplate="%{customdata}: %{y:.3f}",
        )  # fmt: skip
    figure.add_scatter(
        x=list(range(len(ticks))), y=[round(null, 4) for null in nulls], mode="markers", name="even attention",
        marker={"symbol": "line-ew-open", "size": 22, "color": series(7), "line": {"width": 2}},
    )  # fmt: skip
    figure.update_xaxes(tickmode="array", tickvals=list(range(len(ticks))), ticktext=ticks, title="head")
    figure.update_layout(yaxis_title="attention (bars: 95 % over sequences)", yaxis_range=[0, 1])
    return figure


def copying_figure(table: pd.DataFrame) -> go.Figure:
    """Prefix matching against copying, one point a head: induction heads are high on both."""
    prefix = table[table["kind"] == "induction"].set_index("head")
    copying = table[table["kind"] == COPYING].set_index("head")
    figure = go.Figure()
    layers = [head.partition("H")[0] for head in prefix.index]
    for number, layer in enumerate(dict.fromkeys(layers)):
        heads = [head for head, of in zip(prefix.index, layers, strict=True) if of == layer]
        x, y = prefix.loc[heads], copying.loc[heads]
        figure.add_scatter(
            x=x["score"].round(4), y=y["score"].round(4), mode="markers", name=f"layer {layer[1:]}", text=heads,
            error_x=_error(x), error_y=_error(y), marker={"color": series(number), "size": 9},
            hovertemplate="%{text}<br>prefix matching %{x:.3f}<br>copying %{y:.3f}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=float(prefix["null"].iloc[0]), line_dash="dot", line_width=1, line_color=QUIET)
    figure.add_hline(y=float(copying["null"].iloc[0]), line_dash="dot", line_width=1, line_color=QUIET)
    figure.update_xaxes(title="prefix matching (dotted: null)", range=[-0.05, 1.05])
    figure.update_yaxes(title="copying (dotted: null)", range=[-1.1, 1.1])
    return figure


def _error(rows: pd.DataFrame) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (rows["high"] - rows["score"]).round(4),
        "arrayminus": (rows["score"] - rows["low"]).round(4),
        "thickness": 1,
        "color": QUIET,
        "width": 0,
    }
