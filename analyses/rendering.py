"""A result as JSON, as files and as text for a terminal."""

import io
import json
import math
import re
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import InvalidResultError
from .result import Result
from .token_text import legible

MISSING = "–"
_TERMINAL_ROWS = 12


def require_valid(result: Result) -> None:
    """Nothing, if every headline number is finite and every identity holds.

    Raises:
        InvalidResultError: one is not. A table may have missing cells, a headline may not.
    """
    for name, value in result.numbers.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidResultError(f"{result.name}: {name.replace('_', ' ')} is {value}, so the result says nothing")
    for identity in result.identities:
        if not identity.holds:
            raise InvalidResultError(
                f"{result.name}: {identity.statement}: off by {identity.error:.2e}, where rounding explains "
                f"{identity.tolerance:.0e}, so its numbers cannot be trusted"
            )


def plain(value: Any) -> Any:
    """The value in JSON's own types; what is missing or not finite is null, a table a list of its rows."""
    if isinstance(value, pd.DataFrame):
        return [
            dict(zip(map(str, value.columns), map(plain, row), strict=True)) for row in value.itertuples(index=False)
        ]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if is_missing(value):
        return None
    return value if isinstance(value, str | int | float | bool) else str(value)


def is_missing(value: Any) -> bool:
    """Whether there is no value: None, NaN, NaT or an infinity."""
    if isinstance(value, float | np.floating):
        return not math.isfinite(value)
    return value is None or value is pd.NaT or value is pd.NA


def as_dict(result: Result) -> dict[str, Any]:
    """Everything of the result but its pictures, in JSON's own types."""
    return {
        "name": result.name,
        "title": result.title,
        "question": result.question,
        "verdict": result.verdict,
        "numbers": plain(dict(result.numbers)),
        "tables": {title: plain(table) for title, table in result.tables.items()},
        "identities": [{**plain(identity), "holds": identity.holds} for identity in result.identities],
        "what_it_is": result.what_it_is,
        "how_to_read": result.how_to_read,
        "source": result.source,
    }


def as_json(value: Any) -> str:
    """The value as JSON text that any reader takes: no NaN, no infinity."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def save(result: Result, manifest: dict[str, Any], folder: Path) -> list[Path]:
    """The files written: result and manifest as JSON, each table as CSV with empty cells for what is missing."""
    files = {f"{result.name}.json": as_json({"result": as_dict(result), "manifest": manifest})}
    for title, table in result.tables.items():
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        files[f"{result.name}.{slug}.csv"] = table.to_csv(index=False)
    return [written(folder / name, text) for name, text in files.items()]


def written(file: Path, text: str) -> Path:
    """The file, written whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A lone surrogate in a token cannot be encoded; it must not cost the user the result.
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_bytes(text.encode("utf-8", errors="backslashreplace"))
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def number(value: Any) -> str:
    """The value as a reader wants it: four significant digits, a dash where there is none."""
    if is_missing(value):
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{float(value):.4g}"
    if isinstance(value, int | np.integer):
        return str(value)
    return legible(str(value))


def label(name: str) -> str:
    """A column's or number's name as words."""
    return str(name).replace("_", " ")


def as_text(result: Result, width: int = 100, colour: bool = False) -> str:
    """The result for a terminal: question, verdict, numbers and the head of each table."""
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, color_system="auto" if colour else None)
    console.print(Text(result.title, style="bold"))
    console.print(Text(result.question, style="italic"))
    console.print()
    console.print(Text(legible(result.finding)))
    for detail in result.details:
        console.print(Text(f"- {legible(detail)}"))
    console.print()
    numbers = Table(box=None, show_header=False, pad_edge=False)
    for name, value in result.numbers.items():
        numbers.add_row(Text(label(name)), Text(number(value)))
    console.print(numbers)
    for identity in result.identities:
        word = "holds" if identity.holds else "FAILS"
        console.print(Text(f"{word}: {identity.statement} ({identity.error:.1e}, allowed {identity.tolerance:.0e})"))
    for title, table in result.tables.items():
        console.print()
        console.print(Text(title, style="bold"))
        console.print(_terminal_table(table))
        if len(table) > _TERMINAL_ROWS:
            console.print(
                Text(f"… {len(table) - _TERMINAL_ROWS} more rows: --json or --out DIR gives all", style="dim")
            )
    return trimmed(console.file)


def trimmed(file: Any) -> str:
    """What was printed to the file, without the spaces that pad a table's last column."""
    return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())


def _terminal_table(table: pd.DataFrame) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for name in table.columns:
        drawn.add_column(label(name), justify="right" if pd.api.types.is_numeric_dtype(table[name]) else "left")
    for row in table.head(_TERMINAL_ROWS).itertuples(index=False):
        drawn.add_row(*(Text(number(value)) for value in row))
    return drawn
