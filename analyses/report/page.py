"""The page: one template, its style, its scripts and plotly's, all in one text."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from ..rendering import label, number, plain
from ..token_text import legible
from .embedded import ROWS, as_script_json, panel_data
from .figures import TEMPLATE_JSON, figure_height, figure_json, has_gaps
from .panels import Report

_HERE = Path(__file__).parent
_SCRIPTS = ("contents.js", "figures.js", "tables.js")


def html(report: Report) -> str:
    """The report as one HTML text with nothing to fetch."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(_HERE), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        data=_data,
        label=label,
        legible=legible,
        figure_height=figure_height,
        figure_json=lambda figure: Markup(figure_json(figure)),
        panel_json=lambda panel: Markup(as_script_json(panel_data(panel))),
        script_json=lambda value: Markup(as_script_json(plain(value))),
    )
    environment.tests["gapped"] = has_gaps
    return environment.get_template("page.html").render(
        report=report,
        not_asked=[panel for panel in report.panels if panel.not_asked],
        max_rows=ROWS,
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup("\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)),
        template=Markup(TEMPLATE_JSON),
        plotly=Markup(get_plotlyjs()),
    )


def _data(value: Any) -> Markup:
    """The value as a reader wants it, with its full precision in the markup; text keeps its own direction."""
    exact = plain(value)
    if isinstance(exact, str):
        return Markup("<bdi>{}</bdi>").format(number(value))
    return Markup('<data value="{}">{}</data>').format(
        "" if exact is None else json.dumps(exact), escape(number(value))
    )
