"""`interp report`: every analysis on one model, in one HTML file."""

from pathlib import Path

import click

from ..model_source import ModelSource
from ..prompts import pair as prompt_pair
from ..prompts import prompts
from ..rendering import as_json, written
from ..report import as_dict, build, html
from .arguments import model_argument, output_options, require_one_input, text_options
from .loaded import loaded
from .progress import doing, note


@click.command("report")
@model_argument
@text_options
@click.option(
    "--pair", nargs=2, metavar="CLEAN CORRUPTED", help="Compare two prompts of equal token length, token by token."
)
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    source: ModelSource,
    texts: tuple[str, ...],
    ids: tuple[list[int], ...],
    pair: tuple[str, str] | None,
    folder: Path | None,
    json_wanted: bool,
) -> None:
    """One self-contained HTML file in which a model is taken apart: report.html, here or in --out."""
    require_one_input(texts, ids, pair)
    model = loaded(source)
    given = prompt_pair(model, *pair) if pair else prompts(model, source, texts, ids)
    note(f"{source.name} on {given.origin}")
    with doing("taking the model apart"):
        report = build(model, source, given, paired=pair is not None, on_panel=lambda name: note(f"  {name}"))
    file = written((folder or Path.cwd()) / "report.html", html(report))
    if json_wanted:
        click.echo(as_json(as_dict(report)))
    else:
        for panel in report.panels:
            click.echo(f"{panel.title}: {panel.finding}")
        click.echo(f"Report: {file}")
    ctx.exit(report.exit_code)
