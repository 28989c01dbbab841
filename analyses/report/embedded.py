"""The data of a panel as it stands in the page: read by the page's own tables and downloads."""

import json
from typing import Any

import pandas as pd

from ..rendering import plain
from ..result import Result
from .panels import Panel

ROWS = 400
"""Rows of a table that stand in the page; of a longer one the first."""
_DIGITS = 9
"""Significant digits of the numbers in tables: more than float32 has, and far more than is shown."""


def in_script(text: str) -> str:
    """The JSON text with nothing in it that could end a script element or a line of it."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def as_script_json(value: Any) -> str:
    """The value, which is of JSON's own types, as compact JSON for a script element."""
    return in_script(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def panel_data(panel: Panel) -> dict[str, Any]:
    """Everything of the panel but its pictures and explanations; its tables by column and cut to `ROWS`."""
    return {
        "name": panel.name,
        "options": plain(panel.options),
        "parts": [
            {
                "label": part.label,
                "result": _result_data(part.result) if part.result else None,
                "failure": part.failure,
                "not_applicable": part.not_applicable,
            }
            for part in panel.parts
        ],
    }


def _result_data(result: Result) -> dict[str, Any]:
    return {
        "title": result.title,
        "question": result.question,
        "verdict": result.verdict,
        "numbers": plain(dict(result.numbers)),
        "identities": [{**plain(identity), "holds": identity.holds} for identity in result.identities],
        "tables": [_table_data(title, table) for title, table in result.tables.items()],
    }


def _table_data(title: str, table: pd.DataFrame) -> dict[str, Any]:
    columns = [[plain(value) for value in table.iloc[:ROWS, column]] for column in range(table.shape[1])]
    return {
        "title": title,
        "rows": len(table),
        "columns": [str(name) for name in table.columns],
        # JSON does not tell 2.0 from 2, but a reader sees the one rounded and the other whole.
        "floats": [int(any(isinstance(value, float) for value in column)) for column in columns],
        "values": [[_rounded(value) for value in column] for column in columns],
    }


def _rounded(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
