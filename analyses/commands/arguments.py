"""What several commands take: a model, text, a form of output; all of it checked before a model is loaded."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..catalogue import ANALYSES
from ..errors import did_you_mean
from ..model_source import DEFAULT, ModelSource, resolved

_BRIDGE = "interp.bridge"


class ModelArgument(click.ParamType):
    """A bundled name or a path, as the place it means."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ModelSource:
        """The place; a usage error with the nearest names if there is none."""
        if isinstance(value, ModelSource):
            return value
        try:
            found = resolved(value)
            return replace(found, bridge=True) if ctx is not None and ctx.meta.get(_BRIDGE) else found
        except LookupError as error:
            raise click.UsageError(error.args[0], ctx) from error


class TokenIds(click.ParamType):
    """Token ids in one string, separated by spaces or commas."""

    name = "ids"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """The ids; a usage error that shows the first word that is none."""
        if isinstance(value, list):
            return value
        words = value.replace(",", " ").split()
        wrong = [word for word in words if not word.isdecimal()]
        if wrong or not words:
            self.fail(
                f"{wrong[0] if wrong else value!r} is not a token id; give whole numbers like '1 2 3'", param, ctx
            )
        return [int(word) for word in words]


class TextFile(click.ParamType):
    """A file of UTF-8 text, as its text."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; a usage error if there is no such file, it is empty, or no text."""
        try:
            text = Path(value).expanduser().read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            self.fail(f"{value!r} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}", param, ctx)
        except OSError as error:
            self.fail(f"{value!r} cannot be read: {error.strerror}", param, ctx)
        if not text.strip():
            self.fail(f"{value!r} holds no text", param, ctx)
        return text


class PanelName(click.ParamType):
    """The name of an analysis."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; a usage error with the nearest names if there is none."""
        if value not in ANALYSES:
            nearest = did_you_mean(value, ANALYSES) or f" There are {', '.join(ANALYSES)}."
            self.fail(f"no panel is called {value!r}.{nearest}", param, ctx)
        return str(value)


class OutputFolder(click.ParamType):
    """A folder that can be written to; it need not exist yet."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The folder, as it was found; a usage error if it is a file, or cannot be made or written to."""
        if not str(value):
            self.fail("the name of the folder is empty", param, ctx)
        folder = Path(value).expanduser()
        try:
            missing = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
            there = next(place for place in folder.absolute().parents if place.exists()) if missing else folder
            if not there.is_dir():
                self.fail(f"{str(there)!r} is a file, not a folder", param, ctx)
            _try_out(folder, missing)
        except OSError as error:
            self.fail(f"{str(folder)!r} cannot be written to: {error.strerror}", param, ctx)
        return folder


def _try_out(folder: Path, missing: Sequence[Path]) -> None:
    # Tried, not asked: permissions say yes where a file system says no. What was made for it is taken away again.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    finally:
        for place in missing:
            if place.is_dir():
                place.rmdir()


def _debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().obj.debug = True


def _bridge(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[_BRIDGE] = value


def bridge_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with --bridge, which is read before the MODEL that it speaks of."""
    return click.option(
        "--bridge",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_bridge,
        help="Run MODEL as TransformerLens' TransformerBridge: a Hugging Face folder, hub name or GGUF file.",
    )(command)


def model_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with its MODEL."""
    return click.argument("source", metavar="[MODEL]", type=ModelArgument(), default=DEFAULT)(command)


def text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options that say what the model reads."""
    command = click.option(
        "--tokens", "ids", type=TokenIds(), multiple=True, help="Token ids instead of text: '1 2 3'. Repeatable."
    )(command)
    return click.option(
        "--prompt", "texts", multiple=True, help="Text to run on. Repeatable. Default: the model's held-out sample."
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with `--json` and `--debug`."""
    command = click.option("--json", "json_wanted", is_flag=True, help="The result as JSON on stdout.")(command)
    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=_debug, help="Show where an error came from."
    )(command)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with `--json`, `--out` and `--debug`."""
    command = click.option("--out", "folder", type=OutputFolder(), help="Save the result in this folder.")(command)
    return json_option(command)


def require_one_input(
    texts: tuple[str, ...],
    ids: tuple[list[int], ...],
    pair: tuple[str, str] | None = None,
    text: str | None = None,
) -> None:
    """Nothing, if at most one way of giving text is used, and no text is empty.

    Raises:
        click.UsageError: otherwise.
    """
    ways = (("--prompt", texts), ("--tokens", ids), ("--text", text), ("--pair", pair))
    given = [name for name, value in ways if value]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude one another")
    if any(not text for text in (*texts, *(pair or ()))):
        raise click.UsageError(f"{given[0] if given else '--prompt'}: a text is empty")
