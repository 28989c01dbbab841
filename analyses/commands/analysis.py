"""The command of one analysis, built from its `Options`."""

import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from ..catalogue import ANALYSES, analysis
from ..manifest import manifest
from ..model_source import ModelSource
from ..prompts import none_given, prompts
from ..rendering import as_dict, as_json, as_text, require_valid, save
from .arguments import model_argument, output_options, require_one_input, text_options
from .loaded import loaded
from .options import click_options
from .progress import doing, note


def command(name: str) -> click.Command:
    """The command that runs the analysis of this name and shows its result."""
    module = analysis(name)
    own = click_options(module.Options)

    own_prompts: str | None = getattr(module, "OWN_PROMPTS", None)

    @click.command(name, help=f"{ANALYSES[name]}\n\n{_first_line(module.__doc__)}")
    @model_argument
    @(text_options if own_prompts is None else lambda command: command)
    @output_options
    def run(
        source: ModelSource,
        folder: Path | None,
        json_wanted: bool,
        texts: tuple[str, ...] = (),
        ids: tuple[list[int], ...] = (),
        **chosen: Any,
    ) -> None:
        require_one_input(texts, ids)
        try:
            options = module.Options(**chosen)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        model = loaded(source)
        given = prompts(model, source, texts, ids) if own_prompts is None else none_given(own_prompts)
        note(f"{source.name} on {given.origin}")
        with doing(name), torch.no_grad():
            result = module.run(model, given.tokens, options)
        record = {**manifest(model, source, given), "options": asdict(options)}
        for file in save(result, record, folder) if folder else []:
            note(f"wrote {file}")
        if json_wanted:
            click.echo(as_json({"result": as_dict(result), "manifest": record}))
        else:
            terminal = sys.stdout.isatty()
            width = shutil.get_terminal_size().columns if terminal else 120
            click.echo(as_text(result, width, colour=terminal), nl=False)
        require_valid(result)

    taken = {parameter.name for parameter in run.params} & {option.name for option in own}
    if taken:
        raise TypeError(
            f"{name}: Options has fields that every command has already: {', '.join(sorted(map(str, taken)))}"
        )
    run.params[1:1] = own
    return run


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
