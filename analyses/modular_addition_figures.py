"""The pictures of modular addition: frequencies, neurons, and where the sign = looks."""

import pandas as pd
import plotly.graph_objects as go


def frequencies_figure(table: pd.DataFrame) -> go.Figure:
    """The share of each frequency in the logits and in the embeddings, beside an even spread."""
    figure = go.Figure()
    for column, name in (("share_of_logits", "logits"), ("share_of_embeddings", "embeddings of the numbers")):
        figure.add_bar(x=table.frequency, y=table[column].round(6), name=name)
    figure.add_hline(y=float(table.share_if_spread_evenly.iloc[0]), line_dash="dot", annotation_text="spread evenly")
    figure.update_layout(xaxis_title="frequency", yaxis_title="share of the variance", barmode="group")
    return figure


def neurons_figure(neurons: pd.DataFrame, of_one: float) -> go.Figure:
    """Each neuron by its best frequency and how much of it that is."""
    figure = go.Figure(
        go.Scatter(
            x=neurons.frequency,
            y=neurons.share.round(4),
            mode="markers",
            marker={"size": 5, "opacity": 0.6},
            customdata=neurons.neuron,
            hovertemplate="neuron %{customdata}<br>frequency %{x}<br>%{y:.1%} of its variance<extra></extra>",
        )
    )
    figure.add_hline(y=of_one, line_dash="dot", annotation_text=f"of one frequency from {of_one:.0%} on")
    figure.update_layout(xaxis_title="best frequency", yaxis_title="share of the neuron's variance")
    return figure


def attention_figure(attention: pd.DataFrame) -> go.Figure:
    """What each head gives to a, as a goes round; the rest goes to b."""
    figure = go.Figure()
    for head, rows in attention.groupby("head", sort=False):
        figure.add_scatter(x=rows.a, y=rows.attention_to_a.round(4), name=str(head), mode="lines")
    figure.update_layout(xaxis_title="a", yaxis_title="attention to a, mean over b")
    return figure
