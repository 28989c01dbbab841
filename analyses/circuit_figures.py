"""The figures of the circuits analysis, each drawn from a table."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .colours import series


def copying_figure(heads: pd.DataFrame, significant: float) -> go.Figure:
    """Each head's copying score in standard deviations of its null, coloured by what its eigenvalues cannot say."""
    figure = go.Figure(
        go.Bar(
            x=heads["head"],
            y=heads["copying_z"],
            marker={
                "color": heads["departure_from_normality"],
                "cmin": 0,
                "cmax": 1,
                "colorscale": "Viridis",
                "colorbar": {"title": "departure<br>from normality"},
            },
            customdata=heads[["copying_score", "own_token_on_top"]],
            hovertemplate="%{x}<br>score %{customdata[0]:.3f}, z %{y:.1f}<br>own token on top for "
            "%{customdata[1]:.1%} of tokens<extra></extra>",
        )
    )
    for bound in (-significant, significant):
        figure.add_hline(y=bound, line_dash="dot", line_width=1)
    figure.update_layout(xaxis_title="head", yaxis_title="copying score / its null's standard deviation")
    return figure


def spectrum_figure(spectra: pd.DataFrame, circuit: str) -> go.Figure:
    """The singular values of one circuit, a line for each head, a colour for each layer."""
    figure = go.Figure()
    of_circuit = spectra[spectra["circuit"] == circuit]
    layers = list(dict.fromkeys(head.partition("H")[0] for head in of_circuit["head"]))
    for head, of_head in of_circuit.groupby("head", sort=False):
        layer = str(head).partition("H")[0]
        figure.add_scatter(
            x=of_head["number"],
            y=of_head["singular_value"],
            name=str(head),
            mode="lines",
            line={"color": series(layers.index(layer)), "width": 1.2},
            legendgroup=layer,
        )
    figure.update_layout(xaxis_title="number of the singular value", yaxis_title="singular value", yaxis_type="log")
    return figure


def composition_figure(compositions: pd.DataFrame) -> go.Figure:
    """Three maps: how far each pair of heads exceeds the baseline, by what the later head reads."""
    modes = list(dict.fromkeys(compositions["mode"]))
    figure = make_subplots(rows=1, cols=len(modes), subplot_titles=[f"{mode}-composition" for mode in modes])
    largest = float(compositions["excess"].abs().max())
    for column, mode in enumerate(modes, start=1):
        grid = compositions[compositions["mode"] == mode].pivot(index="reader", columns="writer", values="excess")
        # Pivoting sorts by name, and L10 would come before L2.
        readers = list(dict.fromkeys(compositions["reader"]))
        writers = list(dict.fromkeys(compositions["writer"]))
        grid = grid.reindex(index=readers, columns=writers)
        figure.add_heatmap(z=grid.to_numpy(), x=writers, y=readers, coloraxis="coloraxis", row=1, col=column)
        figure.update_xaxes(title="writer", row=1, col=column)
    figure.update_yaxes(title="reader", row=1, col=1)
    figure.update_layout(
        coloraxis={"colorscale": "RdBu_r", "cmin": -largest, "cmax": largest, "colorbar": {"title": "excess"}}
    )
    return figure
