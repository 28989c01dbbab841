"""Figures made fit for the page: labels literal, nothing infinite, one look, JSON that cannot end a script."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.io import to_json

from ..colours import SERIES
from ..errors import FigureError
from ..token_text import plotly_label
from .embedded import in_script

_LABELLED = ("x", "y", "text", "hovertext", "customdata", "name", "labels", "ids")
_NUMERIC = ("x", "y", "z")
_CELL = 7
"""Characters that a cell of a heat map has room for."""
_SUBPLOT_TITLE = 36
"""Pixels that a title above a part of the figure needs."""
_AXIS = {
    "automargin": True,
    "showline": False,
    "zeroline": False,
    "ticks": "",
    "title": {"standoff": 12},
    # On a logarithmic axis 20 stands as "20", not as "2".
    "minorloglabels": "complete",
}
_BAR = {"outlinewidth": 0, "thickness": 12}
TEMPLATE = go.layout.Template(
    layout={
        "colorway": list(SERIES),
        "margin": {"l": 12, "r": 12, "t": 12, "b": 12},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "hoverlabel": {"align": "left"},
        "coloraxis": {"colorbar": _BAR},
        "colorscale": {"sequential": "Viridis", "diverging": "RdBu_r"},
    },
    data={
        "heatmap": [go.Heatmap(colorbar=_BAR, hoverongaps=False)],
        "bar": [go.Bar(marker_colorbar=_BAR, error_x_color="#8a8f98", error_y_color="#8a8f98")],
        "scatter": [go.Scatter(marker_colorbar=_BAR)],
    },
)
"""The look that all figures share; it stands in the page once."""
TEMPLATE_JSON = in_script(to_json(TEMPLATE.to_plotly_json(), validate=False, remove_uids=False))


def figure_json(figure: go.Figure) -> str:
    """The figure as JSON for a script element: every label shows as it is, and no `<` stands in the text.

    Raises:
        FigureError: labels and values of different lengths, which plotly would draw without a word.
    """
    figure = go.Figure(figure)
    for trace in figure.data:
        _require_labels_fit(trace)
        for name in _NUMERIC:
            if name in trace and _is_float(trace[name]):
                # Seven digits: far more than a screen can show, in half the bytes.
                trace[name] = np.where(np.isfinite(trace[name]), trace[name], np.nan).astype(np.float32)
        _shorten_cells(trace)
        for name in _LABELLED:
            if name in trace and trace[name] is not None:
                trace[name] = _literal(trace[name])
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        if axis.ticktext is not None:
            if axis.tickvals is None or len(axis.tickvals) != len(axis.ticktext):
                raise FigureError(f"{len(axis.ticktext)} tick labels for {_length(axis.tickvals)} ticks")
            axis.ticktext = _literal(axis.ticktext)
        if axis.categoryarray is not None:
            axis.categoryarray = _literal(axis.categoryarray)
    # The page says the title; the page's script gives the colours of the reader's scheme.
    figure.update_layout(template=None, title=None)
    if figure.layout.annotations and figure.layout.margin.t is None:
        figure.update_layout(margin_t=_SUBPLOT_TITLE)
    if all(trace.type == "heatmap" for trace in figure.data):
        figure.update_xaxes(showgrid=False)
        figure.update_yaxes(showgrid=False)
    return in_script(to_json(figure, validate=False))


def figure_height(figure: go.Figure) -> int:
    """The height in pixels: the figure's own, else what the rows of its heat maps need, so that nothing moves later."""
    if figure.layout.height is not None:
        return int(figure.layout.height)
    rows = [len(trace.z) for trace in figure.data if trace.type == "heatmap" and trace.z is not None]
    return min(640, max(260, 150 + 32 * max(rows))) if rows else 380


def has_gaps(figure: go.Figure) -> bool:
    """Whether a heat map has cells without a value, which the page hatches."""
    grids = (
        np.asarray(trace.z, dtype=object) for trace in figure.data if trace.type == "heatmap" and trace.z is not None
    )
    return any(any(_is_gap(value) for value in grid.ravel()) for grid in grids)


def _is_gap(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and not np.isfinite(value))


def _is_float(values: Any) -> bool:
    return values is not None and np.issubdtype(np.asarray(values).dtype, np.floating)


def _literal(value: Any) -> Any:
    if isinstance(value, str):
        return plotly_label(value)
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OU":
        return value
    if isinstance(value, np.ndarray | list | tuple):
        return [_literal(member) for member in value]
    return value


def _require_labels_fit(trace: Any) -> None:
    if trace.type == "heatmap":
        shape = np.shape(trace.z)
        wanted = {"y": shape[0], "x": shape[1]}
        # A grid of n cells may be given by its n + 1 edges, if they are numbers.
        fits = {name: _length(trace[name]) in (None, n, n + 1) for name, n in wanted.items()}
        if trace.text is not None and np.shape(trace.text)[:2] != shape:
            raise FigureError(f"a heat map of shape {shape} has texts of shape {np.shape(trace.text)}")
    elif trace.type in ("scatter", "scattergl", "bar"):
        n_values = _length(trace.y)
        wanted = {"x": n_values}
        fits = {"x": _length(trace.x) in (None, n_values)}
    else:
        return
    for name, fit in fits.items():
        if not fit:
            raise FigureError(
                f"a {trace.type} with {wanted[name]} values along {name} has {_length(trace[name])} labels"
            )


def _shorten_cells(trace: Any) -> None:
    # Plotly makes all texts as small as the longest needs; cut ones stay readable, and the whole text is in the hover.
    if trace.type != "heatmap" or trace.text is None or not trace.texttemplate:
        return
    trace.hovertext = trace.text
    if trace.hovertemplate:
        trace.hovertemplate = trace.hovertemplate.replace("%{text}", "%{hovertext}")
    trace.text = [[_shortened(str(cell)) for cell in row] for row in trace.text]
    trace.textfont.size = 10


def _shortened(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _length(values: Any) -> int | None:
    return None if values is None else len(values)
