"""Tasks of the user's own, from JSON or CSV. Nothing in a file is guessed or passed over."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import TaskFileError, did_you_mean
from .pair import Answer, Pair, Prompt
from .task import Task

REQUIRED = ("clean", "corrupted", "answer", "wrong")
COLUMNS = (*REQUIRED, "template")


def read_task(path: str | Path, name: str | None = None) -> Task:
    """The task of a file: CSV with a header, or a JSON list of objects.

    Columns or keys are `clean`, `corrupted`, `answer`, `wrong`, and `template` if the prompts have any. In JSON a
    prompt may also be a list of token ids, and an answer a token id or a list of answers of which each will do. Spaces
    count: in most tokenizers " Mary" and "Mary" are different tokens.

    Args:
        name: what the task is called; by default the file's name without its ending.

    Raises:
        TaskFileError: the file is neither of the two or empty, a column or key is unknown or comes twice, or a row
            lacks a value or has one of a wrong type. Rows are counted from 1, without the header and empty lines.
        OSError: there is no such file, or it cannot be read.
    """
    path = Path(path)
    reader = {".json": _json_rows, ".csv": _csv_rows}.get(path.suffix.lower())
    if reader is None:
        raise TaskFileError(f"a task is read from a file that ends in .json or .csv; {path.name!r} does not")
    try:
        # Spreadsheets begin their files with a mark that is no part of the first column's name. Read as text, line ends
        # within a prompt would be made one kind.
        rows = reader(path.name, path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise TaskFileError(f"{path.name} is not text in UTF-8: {error}") from error
    if not rows:
        raise TaskFileError(f"{path.name} has no prompts")
    pairs = tuple(_pair(f"{path.name}, row {at}", row) for at, row in enumerate(rows, start=1))
    return Task(name or path.stem, f"{len(pairs)} prompt pairs of {path.name}", pairs, source=path.name)


def _csv_rows(name: str, text: str) -> list[dict[str, Any]]:
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise TaskFileError(f"{name} is not CSV: {error}") from error
    if not lines:
        return []
    header = lines[0]
    _require_columns(f"{name}, header", header)
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        raise TaskFileError(
            f"{name} lacks the column{'s' * (len(missing) > 1)} {_listed(missing)}; it has {_listed(header)}"
        )
    for at, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise TaskFileError(
                f"{name}, row {at} has {len(line)} values and the header {len(header)}; "
                'a value with a comma stands in quotes: "When Mary, …"'
            )
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _json_rows(name: str, text: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(text, object_pairs_hook=_object) if text.strip() else []
    except json.JSONDecodeError as error:
        raise TaskFileError(f"{name} is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise TaskFileError(f"{name} must be a list of objects with {_listed(REQUIRED)}, not a single {_kind(rows)}")
    for at, row in enumerate(rows, start=1):
        if not isinstance(row, _Object):
            raise TaskFileError(f"{name}, row {at} must be an object with {_listed(REQUIRED)}, not a {_kind(row)}")
        _require_columns(f"{name}, row {at}", row.keys_as_written)
    return rows


class _Object(dict[str, Any]):
    """A JSON object that remembers a key that comes twice, which a dictionary would pass over."""

    keys_as_written: Sequence[str]


def _object(items: list[tuple[str, Any]]) -> _Object:
    made = _Object(items)
    made.keys_as_written = [key for key, _ in items]
    return made


def _require_columns(where: str, given: Sequence[str]) -> None:
    for column in given:
        if column not in COLUMNS:
            raise TaskFileError(
                f"{where}: {column!r} is not known.{did_you_mean(column, COLUMNS)} Known are {_listed(COLUMNS)}"
            )
        if given.count(column) > 1:
            raise TaskFileError(f"{where}: {column!r} comes {given.count(column)} times")


def _pair(where: str, row: Mapping[str, Any]) -> Pair:
    missing = [key for key in REQUIRED if row.get(key) in (None, "", [])]
    if missing:
        raise TaskFileError(f"{where} lacks {_listed(missing)}")
    template = row.get("template", "")
    if not isinstance(template, str):
        raise TaskFileError(f"{where}: template must be text, not {_kind(template)}")
    clean, corrupted = (_prompt(f"{where}: {key}", row[key]) for key in ("clean", "corrupted"))
    answer, wrong = (_answer(f"{where}: {key}", row[key]) for key in ("answer", "wrong"))
    return Pair(clean, corrupted, answer, wrong, template)


def _prompt(where: str, value: Any) -> Prompt:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(_is_id(token) for token in value):
        return tuple(value)
    raise TaskFileError(f"{where} must be text or a list of token ids, not {_kind(value)}")


def _answer(where: str, value: Any) -> Answer:
    values = value if isinstance(value, list) else [value]
    if all(isinstance(each, str) and each for each in values) or all(_is_id(each) for each in values):
        return tuple(values) if isinstance(value, list) else value
    raise TaskFileError(f"{where} must be a text or a token id, or a list of one kind, not {_kind(value)}")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"list of {', '.join(sorted({_kind(each) for each in value})) or 'nothing'}"
    names = {dict: "object", str: "text", bool: "true or false", int: "number", float: "number", type(None): "null"}
    return next(word for kind, word in names.items() if isinstance(value, kind))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
