"""The figures of weight sharing, each drawn from a table."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from interp.weight_sharing import SharedDirections

from .colours import series


def loss_figure(losses: pd.DataFrame) -> go.Figure:
    """A bar for each way to the logits, the model first."""
    rows = losses.iloc[::-1]
    error = {
        "type": "data",
        "symmetric": False,
        "color": "#8a8f98",
        "array": rows["loss_high"] - rows["loss_nats"],
        "arrayminus": rows["loss_nats"] - rows["loss_low"],
    }
    figure = go.Figure(
        go.Bar(
            x=rows["loss_nats"], y=rows["logits_from"], error_x=error, orientation="h", marker={"color": series(0)},
            hovertemplate="%{y}<br>%{x:.3f} nats<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(xaxis_title="loss, nats a token (bars: 95 % over prompts)", showlegend=False)
    return figure


def eigenvalue_figure(eigenvalues: pd.DataFrame) -> go.Figure:
    """The eigenvalues in the complex plane."""
    figure = go.Figure(
        go.Scatter(
            x=_rounded(eigenvalues["real_share"]),
            y=_rounded(eigenvalues["imaginary_share"]),
            mode="markers",
            marker={"color": series(0), "size": 7, "opacity": 0.7},
            hovertemplate="%{x:.4f} %{y:+.4f} i<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": series(7), "width": 1, "dash": "dot"})
    # Real eigenvalues would otherwise be spread over the height of the figure by rounding errors.
    reach = max(
        1.1 * float(eigenvalues["imaginary_share"].abs().max()), 0.1 * float(eigenvalues.abs().to_numpy().max())
    )
    figure.update_layout(
        xaxis_title="real part (share of the sum of sizes)",
        yaxis={"title": "imaginary part", "range": [-reach, reach]},
        showlegend=False,
    )
    return figure


def cosine_figure(directions: SharedDirections, cosines: pd.DataFrame) -> go.Figure:
    """The distribution of the cosine of a token's two vectors, and where pairs of different tokens lie."""
    own = directions.own[directions.own.isfinite()].numpy(force=True)
    counts, edges = np.histogram(own, bins=40)
    middles = (edges[:-1] + edges[1:]) / 2
    figure = go.Figure(
        go.Bar(
            x=_rounded(middles), y=counts, width=float(edges[1] - edges[0]), name="the same token",
            marker={"color": series(0)}, hovertemplate="cosine %{x:.3f}: %{y} tokens<extra></extra>",
        )
    )  # fmt: skip
    other = cosines.iloc[1]
    middle, reach = float(other["mean_cosine"]), 1.96 * float(other["standard_deviation"])
    figure.add_vrect(x0=middle - reach, x1=middle + reach, fillcolor=series(1), opacity=0.2, line_width=0)
    figure.add_scatter(
        x=[middle, middle], y=[0, int(counts.max())], mode="lines", name="different tokens: mean, and 95 % of pairs",
        line={"color": series(1), "dash": "dash"},
    )  # fmt: skip
    figure.update_layout(xaxis_title="cosine of embedding and unembedding", yaxis_title="tokens", bargap=0)
    return figure


def _rounded(values: "pd.Series | np.ndarray") -> list[float]:
    # Four significant digits are all that a reader sees, and the page is half as large.
    return [float(f"{value:.4g}") for value in values]
