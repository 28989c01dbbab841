"""`interp check`: the identities that hold for every transformer, measured on one."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from interp.invariants import Outcome, check

from ..errors import InvalidResultError
from ..manifest import manifest
from ..model_source import ModelSource
from ..prompts import prompts
from ..rendering import as_json, number, trimmed, written
from .arguments import model_argument, output_options, require_one_input, text_options
from .loaded import loaded
from .progress import doing, note

_PROMPTS, _POSITIONS = 2, 16
"""What suffices to see an identity fail; more tokens only take longer."""


@click.command("check")
@model_argument
@text_options
@output_options
def command(
    source: ModelSource,
    texts: tuple[str, ...],
    ids: tuple[list[int], ...],
    folder: Path | None,
    json_wanted: bool,
) -> None:
    """The invariants of a model, each with its measured error, in float64.

    The exit code is 4 if one of them fails.
    """
    require_one_input(texts, ids)
    model = loaded(source).double()
    given = prompts(model, source, texts, ids)
    tokens = given.tokens[:_PROMPTS, :_POSITIONS]
    cut = "" if tokens.shape == given.tokens.shape else f", cut from {' × '.join(map(str, given.tokens.shape))},"
    note(f"{source.name} in float64 on {tokens.shape[0]} × {tokens.shape[1]} tokens{cut} of {given.origin}")
    with doing("checking"):
        outcomes = check(model, tokens)
    document = {"outcomes": [asdict(outcome) for outcome in outcomes], "manifest": manifest(model, source, given)}
    if folder:
        note(f"wrote {written(folder / 'check.json', as_json(document))}")
    click.echo(as_json(document) if json_wanted else _text(outcomes), nl=json_wanted)
    failed = [outcome.name for outcome in outcomes if outcome.passed is False]
    if failed:
        raise InvalidResultError(f"{len(failed)} of {len(outcomes)} invariants do not hold: {', '.join(failed)}")


def _text(outcomes: Sequence[Outcome]) -> str:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading, where in (("invariant", "left"), ("error", "right"), ("allowed", "right"), ("", "left")):
        table.add_column(heading, justify=where)  # type: ignore[arg-type]
    table.add_column("what holds")
    for outcome in outcomes:
        said = outcome.statement + (f" (skipped: {outcome.skipped})" if outcome.skipped else "")
        cells = (outcome.name, number(outcome.error), number(outcome.tolerance), _word(outcome), said)
        table.add_row(*map(Text, cells))
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    n_passed = sum(outcome.passed is True for outcome in outcomes)
    n_skipped = sum(outcome.passed is None for outcome in outcomes)
    skipped = f", {n_skipped} skipped" if n_skipped else ""
    return f"{trimmed(console.file)}{n_passed} of {len(outcomes)} hold{skipped}.\n"


def _word(outcome: Outcome) -> str:
    return {True: "pass", False: "FAIL", None: "–"}[outcome.passed]
