"""The figures of the residual ablation, each drawn from its table."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots


def place_figure(table: pd.DataFrame) -> go.Figure:
    """KL by place and replacement as bars with intervals, its random direction paler beside it."""
    figure = go.Figure()
    for number, (kind, rows) in enumerate(table.groupby("replacement", sort=False)):
        group = str(kind)
        for column, label in (("kl_nats", group), ("placebo_kl_nats", f"{group}, random direction")):
            own = column == "kl_nats"
            error = {
                "type": "data",
                "symmetric": False,
                "array": rows[f"{column}_high"] - rows[column],
                "arrayminus": rows[column] - rows[f"{column}_low"],
            }
            style = {"opacity": 1.0 if own else 0.35}
            figure.add_bar(
                x=rows["writer"], y=rows[column], error_y=error, name=label, marker=style, legendgroup=group,
                legendrank=2 * number + (not own),
            )  # fmt: skip
    figure.update_layout(xaxis_title="place", yaxis_title="KL(clean || ablated), nats", barmode="group")
    return figure


def edge_figure(table: pd.DataFrame) -> go.Figure:
    """One map for each replacement: the KL when one reader does not see what one writer wrote."""
    kinds = list(dict.fromkeys(table["replacement"]))
    figure = make_subplots(rows=1, cols=len(kinds), subplot_titles=kinds, shared_yaxes=True)
    readers, writers = (list(dict.fromkeys(table[column])) for column in ("reader", "writer"))
    for column, kind in enumerate(kinds, start=1):
        rows = table[table["replacement"] == kind]
        grid = rows.pivot(index="reader", columns="writer", values="kl_nats").reindex(index=readers, columns=writers)
        figure.add_heatmap(z=grid.to_numpy(), x=writers, y=readers, coloraxis="coloraxis", row=1, col=column)
        figure.update_xaxes(title="writer", row=1, col=column)
    figure.update_yaxes(title="reader", row=1, col=1)
    figure.update_layout(coloraxis={"colorscale": "Viridis", "colorbar": {"title": "KL, nats"}})
    return figure
