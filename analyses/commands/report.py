"""`interp report`: every analysis on one model, in one HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..catalogue import ANALYSES
from ..model_source import ModelSource
from ..prompts import Prompts, prompts, readable, windows
from ..prompts import pair as prompt_pair
from ..rendering import as_json, written
from ..report import Report, as_dict, build, compare, html
from ..token_text import legible
from .arguments import (
    ModelArgument,
    PanelName,
    TextFile,
    model_argument,
    output_options,
    require_one_input,
    text_options,
)
from .loaded import loaded
from .progress import doing, note


@click.command("report")
@model_argument
@text_options
@click.option("--text", "text", type=TextFile(), metavar="FILE", help="A text file to run on, in windows.")
@click.option(
    "--pair", nargs=2, metavar="CLEAN CORRUPTED", help="Compare two prompts of equal token length, token by token."
)
@click.option("--against", "other", metavar="OTHER", type=ModelArgument(), help="Compare MODEL with this model.")
@click.option("--only", multiple=True, type=PanelName(), help="Only the panel of this name. Repeatable.")
@click.option("--skip", multiple=True, type=PanelName(), help="All panels but that of this name. Repeatable.")
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    source: ModelSource,
    texts: tuple[str, ...],
    ids: tuple[list[int], ...],
    text: str | None,
    pair: tuple[str, str] | None,
    other: ModelSource | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    folder: Path | None,
    json_wanted: bool,
) -> None:
    """One self-contained HTML file in which a model is taken apart: report.html, here or in --out.

    With --against, what differs between two models or two checkpoints of one, on the same prompts.
    """
    require_one_input(texts, ids, pair, text)
    names = _names(only, skip)
    model = loaded(source)
    other_model = loaded(other) if other else None
    if pair:
        given = prompt_pair(model, *pair)
    elif text is not None:
        given = windows(model, text, "the given file")
    else:
        given = prompts(model, source, texts, ids)
    if other_model is not None:
        given = readable(given, other_model, must_be_whole=bool(texts or ids or pair))
    note(f"{source.name}{f' against {other.name}' if other else ''} on {given.origin}")
    with doing("taking the model apart"):
        report = _report((model, other_model), (source, other), given, pair is not None, names)
    file = written((folder or Path.cwd()) / "report.html", html(report))
    if json_wanted:
        click.echo(as_json(as_dict(report)))
    else:
        for sentence in report.summary:
            click.echo(f"{sentence.about}. {legible(sentence.text)}")
        click.echo("")
        for panel in report.panels:
            click.echo(f"{panel.title}: {panel.finding}")
        click.echo(f"Report: {file}")
    ctx.exit(report.exit_code)


def _report(
    models: tuple[Any, Any],
    sources: tuple[ModelSource, ModelSource | None],
    given: Prompts,
    paired: bool,
    names: Sequence[str],
) -> Report:
    def on_panel(name: str) -> None:
        note(f"  {name}")

    model, (source, other) = models[0], sources
    if other is None:
        return build(model, source, given, paired, on_panel, names)
    return compare(models, (source, other), given, paired, on_panel, names)


def _names(only: tuple[str, ...], skip: tuple[str, ...]) -> list[str]:
    if only and skip:
        raise click.UsageError("--only and --skip exclude one another")
    names = [name for name in ANALYSES if name not in skip and (not only or name in only)]
    if not names:
        raise click.UsageError("--skip leaves no panel")
    return names
