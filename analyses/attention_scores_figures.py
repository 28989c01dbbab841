"""The figures of the attention scores, each drawn from a table."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .colours import series


def pair_figure(pairs: pd.DataFrame) -> go.Figure:
    """Query's writer by key's writer: the part of the preference that each pair makes."""
    grids = {
        column: pairs.pivot(index="query_writer", columns="key_writer", values=column)
        for column in ("difference", "mean_over_prompts")
    }
    rows, columns = list(grids["difference"].index), list(grids["difference"].columns)
    grid = grids["difference"].to_numpy()
    largest = float(np.abs(grid).max())
    figure = go.Figure(
        go.Heatmap(
            z=grid,
            x=columns,
            y=rows,
            text=[[f"{value:.1f}" if abs(value) >= 0.05 else "" for value in row] for row in grid],
            texttemplate="%{text}",
            customdata=grids["mean_over_prompts"].to_numpy(),
            hovertemplate="%{y} at the query × %{x} at the key<br>%{z:.3f} here, %{customdata:.3f} over the prompts"
            "<extra></extra>",
            colorscale="RdBu_r",
            zmin=-largest,
            zmax=largest,
            colorbar={"title": "score"},
        )
    )
    figure.update_layout(xaxis_title="read by the key, written by", yaxis_title="read by the query, written by")
    figure.update_yaxes(autorange="reversed")
    return figure


def key_figure(keys: pd.DataFrame) -> go.Figure:
    """The attention to each key as bars."""
    figure = go.Figure(
        go.Bar(
            x=keys["position"],
            y=keys["attention"],
            marker_color=series(0),
            customdata=keys[["token", "score_less_mean"]].to_numpy(),
            hovertemplate="%{x}: %{customdata[0]}<br>attention %{y:.3f}<br>score %{customdata[1]:.2f} above the mean"
            "<extra></extra>",
        )
    )
    ticks = [f"{position}: {token}" for position, token in zip(keys["position"], keys["token"], strict=True)]
    figure.update_xaxes(tickmode="array", tickvals=keys["position"].tolist(), ticktext=ticks, tickangle=-60)
    figure.update_layout(xaxis_title="key", yaxis_title="attention")
    return figure
