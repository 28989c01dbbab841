"""`interp sweep`: one intervention at every cell of a model, on the prompt pairs of a task."""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from interp.effects import Effects
from interp.sweep_run import SweepRun

from ..errors import PartialResultError
from ..manifest import manifest
from ..model_source import ModelSource
from ..prompts import Prompts
from ..rendering import as_dict, as_json, as_text, require_valid
from ..sweep_files import save_sweep
from ..sweep_request import SweepRequest
from ..sweep_result import effects_as_dict, sweep_result
from ..sweep_verdict import described
from .arguments import bridge_option, model_argument, output_options
from .loaded import loaded
from .progress import doing, note
from .sweep_options import sweep_options

UNFINISHED = "unfinished"
"""Within the output folder, where what is done of a sweep stands until all of it is."""

AGAIN = "the same command goes on from there."


@click.command("sweep")
@model_argument
@bridge_option
@sweep_options
@output_options
def command(
    source: ModelSource,
    folder: Path | None,
    json_wanted: bool,
    plan_only: bool,
    verify: int,
    only: tuple[tuple[str, list[int]], ...],
    blocks: tuple[tuple[str, int], ...],
    **asked: Any,
) -> None:
    """The effect of a change at every cell of a model, exactly, on prompt pairs.

    With --out, what is done is kept: a sweep that was stopped goes on when the same command is given again.
    """
    try:
        request = SweepRequest(only=_by_axis("--only", only), blocks=_by_axis("--blocks", blocks), **asked)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    model = loaded(source)
    pairs = request.pairs(model)
    with doing("both runs"):
        ready = request.prepared(model, pairs)
    note(f"{source.name} on {described(pairs)}")
    note(f"plan: {ready.plan}" + (f" ({ready.why_plain})" if ready.why_plain else ""))
    if plan_only:
        click.echo(as_json(asdict(ready.plan)) if json_wanted else str(ready.plan))
        return
    effects = _run(ready, folder, verify)
    found = dict(zip(request.metric_names(pairs), effects.values(), strict=True))
    result = sweep_result(found, pairs)
    origin = f"{described(pairs)}, clean ones first"
    record = {
        **manifest(model, source, Prompts(torch.cat([pairs.clean, pairs.corrupted]), origin)),
        "options": request.as_dict(),
    }
    document = {"result": as_dict(result), "plan": asdict(ready.plan), "manifest": record}
    failure = None if folder is None else _saved(found, document, folder)
    if json_wanted:
        click.echo(as_json({**document, "effects": {name: effects_as_dict(one) for name, one in found.items()}}))
    else:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else 120
        click.echo(as_text(result, width, colour=terminal), nl=False)
    if failure is not None:
        raise failure
    require_valid(result)


def _by_axis(option: str, given: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    found = dict(given)
    if len(found) < len(given):
        raise click.UsageError(f"{option} names an axis twice")
    return found


def _run(ready: SweepRun, folder: Path | None, verify: int) -> Mapping[str, Effects]:
    """The effects by what each metric calls itself; in the folder, what is done of them.

    Raises:
        PartialResultError: the folder could not be written any more.
    """
    exact = ready.ready.engine == "wavefront"
    try:
        effects = ready.run(out=folder and folder / UNFINISHED, verify=verify if exact else 0)
    except KeyboardInterrupt:
        kept = "Nothing is kept; with --out it would be." if folder is None else f"What is done is in {folder}: {AGAIN}"
        note(f"Stopped. {kept}")
        raise
    except OSError as error:
        if folder is None:
            raise
        raise PartialResultError(f"{folder}: {error.strerror}. What was done before is kept: {AGAIN}") from error
    return effects if isinstance(effects, dict) else {effects.metric: effects}


def _saved(found: Mapping[str, Effects], document: Mapping[str, Any], folder: Path) -> PartialResultError | None:
    """The files, and what stood there of the unfinished sweep taken away; the failure, where the disk had no more."""
    try:
        for file in save_sweep(found, document, folder):
            note(f"wrote {file}")
        shutil.rmtree(folder / UNFINISHED)
    except OSError as error:
        return PartialResultError(
            f"{folder}: {error.strerror}. The sweep is done, but not all of it is written: {AGAIN}"
        )
    return None
