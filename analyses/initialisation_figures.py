"""The figures of the initialisation analysis, each drawn from a table."""

import pandas as pd
import plotly.graph_objects as go

from .colours import series


def by_head_figure(by_head: pd.DataFrame) -> go.Figure:
    """Each head's KL from uniform against the formula, by scheme; on the diagonal the formula holds."""
    figure = go.Figure()
    for scheme, heads in by_head.groupby("scheme", sort=False):
        reach = {"array": heads["high_nats"] - heads["kl_nats"], "arrayminus": heads["kl_nats"] - heads["low_nats"]}
        figure.add_scatter(
            x=heads["predicted_nats"],
            y=heads["kl_nats"],
            error_y={"type": "data", "symmetric": False, **reach},
            text=heads["head"],
            name=str(scheme),
            mode="markers",
        )
    ends = [float(by_head["predicted_nats"].min()), float(by_head["predicted_nats"].max())]
    figure.add_scatter(x=ends, y=ends, name="formula", mode="lines", line={"dash": "dot", "width": 1})
    figure.update_xaxes(title="predicted KL from uniform, nats", type="log")
    figure.update_yaxes(title="measured KL from uniform, nats", type="log")
    return figure


def by_row_figure(by_row: pd.DataFrame) -> go.Figure:
    """KL from uniform by the number of keys a query sees: measured as lines, predicted as dots."""
    figure = go.Figure()
    for number, (scheme, rows) in enumerate(by_row.groupby("scheme", sort=False)):
        figure.add_scatter(
            x=rows["n_keys"],
            y=rows["kl_nats"],
            name=str(scheme),
            mode="lines",
            line={"color": series(number)},
            legendgroup=str(scheme),
        )
        figure.add_scatter(
            x=rows["n_keys"],
            y=rows["predicted_nats"],
            name=f"{scheme}, formula",
            mode="lines",
            line={"dash": "dot", "color": series(number)},
            legendgroup=str(scheme),
        )
    figure.update_xaxes(title="keys the query sees", type="log")
    figure.update_yaxes(title="KL from uniform, nats", type="log")
    return figure


def loss_figure(losses: pd.DataFrame) -> go.Figure:
    """The loss before training against the size of the embeddings, beside ln V and the two formulas."""
    figure = go.Figure()
    error = {"type": "data", "array": losses["high_nats"] - losses["loss_nats"]}
    x = losses["embedding_std"]
    figure.add_scatter(x=x, y=losses["loss_nats"], error_y=error, name="measured", mode="markers")
    figure.add_scatter(x=x, y=losses["ln_V_nats"], name="ln V", mode="lines", line={"dash": "dot"})
    figure.add_scatter(x=x, y=losses["closed_form_nats"], name="ln V + variance / 2", mode="lines")
    figure.add_scatter(x=x, y=losses["general_nats"], name="actual variance, own token, freezing", mode="lines")
    figure.update_xaxes(title="standard deviation of the embeddings", type="log")
    figure.update_yaxes(title="loss, nats", type="log")
    return figure
