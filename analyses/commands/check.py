"""`interp check`: the identities that hold for every transformer, measured on one."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import click
from jaxtyping import Int
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from interp.invariants import INVARIANTS, Invariant, Outcome, outcomes
from interp.invariants.source import NAME as SOURCE

from ..errors import InvalidResultError, did_you_mean
from ..manifest import manifest
from ..model_source import ModelSource
from ..prompts import Prompts, prompts
from ..rendering import as_json, number, trimmed, written
from ..source_model import source_invariants
from .arguments import bridge_option, model_argument, output_options, require_one_input, text_options
from .loaded import loaded
from .progress import note, stepped

_PROMPTS, _POSITIONS = 2, 16
"""What suffices to see an identity fail; of a model's own sample more would only take longer."""


@click.command("check")
@model_argument
@bridge_option
@text_options
@click.option("--only", "names", multiple=True, metavar="NAME", help="Only this invariant. Repeatable. Default: all.")
@output_options
def command(
    source: ModelSource,
    texts: tuple[str, ...],
    ids: tuple[list[int], ...],
    names: tuple[str, ...],
    folder: Path | None,
    json_wanted: bool,
) -> None:
    """The invariants of a model, each with its measured error, in float64 (a bridge in float32).

    A Hugging Face folder or a GGUF file is also run by transformers, and must give the same logits.
    The exit code is 4 if one of them fails.
    """
    require_one_input(texts, ids)
    _require_known(names)
    model = loaded(source) if source.bridge else loaded(source).double()
    whole = prompts(model, source, texts, ids)
    chosen = _chosen(names, source, model, whole.tokens)
    given = whole if texts or ids else _short(whole)
    run_as = f"{source.name} as a bridge in float32" if source.bridge else f"{source.name} in float64"
    note(f"{run_as} on {' × '.join(map(str, given.tokens.shape))} tokens of {given.origin}")
    found: list[Outcome] = []
    try:
        found.extend(stepped("checking", outcomes(model, given.tokens, chosen), len(chosen)))
    finally:
        # Interrupted, it tells what it has found.
        document = {"outcomes": [asdict(outcome) for outcome in found], "manifest": manifest(model, source, given)}
        if folder:
            note(f"wrote {written(folder / 'check.json', as_json(document))}")
        click.echo(as_json(document) if json_wanted else _text(found), nl=json_wanted)
    failed = [outcome.name for outcome in found if outcome.failed]
    if failed:
        raise InvalidResultError(f"{len(failed)} of {len(found)} invariants do not hold: {', '.join(failed)}")


def _short(whole: Prompts) -> Prompts:
    tokens = whole.tokens[:_PROMPTS, :_POSITIONS]
    if tokens.shape == whole.tokens.shape:
        return whole
    return Prompts(tokens, f"{whole.origin}, cut from {' × '.join(map(str, whole.tokens.shape))}")


def _require_known(names: Sequence[str]) -> None:
    known = [*(invariant.name for invariant in INVARIANTS), SOURCE]
    for name in names:
        if name not in known:
            raise click.UsageError(f"--only: no invariant is called {name!r}.{did_you_mean(name, known)}")


def _chosen(names: Sequence[str], source: ModelSource, model: Any, whole: Int[Tensor, "batch pos"]) -> list[Invariant]:
    """The invariants of these names, or all; the source is run only where it is asked, and then on all tokens."""
    beside = source_invariants(source, model.cfg.dtype, whole) if not names or SOURCE in names else []
    if SOURCE in names and not beside:
        raise click.UsageError(f"--only {SOURCE}: {source.name} is no checkpoint that transformers can run itself")
    by_name = {invariant.name: invariant for invariant in [*INVARIANTS, *beside]}
    return [by_name[name] for name in dict.fromkeys(names)] or list(by_name.values())


def _text(found: Sequence[Outcome]) -> str:
    """A row for each invariant, the reasons of the tolerances as footnotes, and what did not apply."""
    measured = [outcome for outcome in found if not outcome.skipped]
    marks = dict(zip(dict.fromkeys(outcome.reason for outcome in measured), ascii_lowercase, strict=False))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading, where in (("invariant", "left"), ("error", "right"), ("allowed", "right"), ("", "left"), ("", "left")):
        table.add_column(heading, justify=where, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("what holds")
    for outcome in measured:
        said = outcome.statement + (f" (raised {outcome.raised})" if outcome.raised else "")
        mark = f"({marks[outcome.reason]})"
        cells = (outcome.name, _brief(outcome.error), _brief(outcome.tolerance), mark, _word(outcome), said)
        table.add_row(*map(Text, cells))
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    for reason, mark in marks.items():
        console.print(Text(f"({mark}) {reason}"))
    skipped = [outcome for outcome in found if outcome.skipped]
    if skipped:
        console.print(Text("\nNot asked, because they say nothing about this model or these tokens:"))
        for outcome in skipped:
            console.print(Text(f"{outcome.name}: {outcome.skipped}"))
    for outcome in found:
        if outcome.failed and outcome.where:
            console.print(Text(f"\n{outcome.name}: furthest off in {outcome.where}"))
        if outcome.note:
            console.print(Text(f"\n{outcome.name}: {outcome.note}"))
    n_passed = sum(outcome.passed is True for outcome in found)
    without = f", {len(skipped)} skipped" if skipped else ""
    return f"{trimmed(console.file)}{n_passed} of {len(found)} hold{without}.\n"


def _brief(value: float | None) -> str:
    return number(value) if value is None or value == 0 else f"{value:.2g}"


def _word(outcome: Outcome) -> str:
    return "pass" if outcome.passed else "FAIL"
