"""The page: one template, its style, its script and plotly's, all in one text."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from ..rendering import label, number, plain
from ..token_text import legible
from .build import Report
from .figures import figure_json, has_gaps

_HERE = Path(__file__).parent


def html(report: Report) -> str:
    """The report as one HTML text with nothing to fetch."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(_HERE), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(data=_data, label=label, legible=legible, figure_json=lambda f: Markup(figure_json(f)))
    environment.tests["gapped"] = has_gaps
    return environment.get_template("page.html").render(
        report=report,
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup((_HERE / "page.js").read_text(encoding="utf-8")),
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
