"""The command `interp`: its commands are imported when they are called, so that `--help` answers at once."""

import os
import sys
import traceback
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

import click

from .catalogue import ANALYSES

_COMMANDS = {
    "report": "One HTML file in which a model is taken apart.",
    "models": "The bundled models.",
    "train": "Train a model by a recipe.",
    "check": "The invariants of a model, each with its measured error.",
    "sweep": "One change at every cell of a model, exactly: which places carry a behaviour?",
    **ANALYSES,
}


@dataclass
class Settings:
    """What holds for the whole run of the program."""

    debug: bool = False


class Program(click.Group):
    """A group that imports a command when it is called, and turns every error into a sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now, or nothing if there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name in ANALYSES:
            return import_module(".commands.analysis", __package__).command(cmd_name)
        return import_module(f".commands.{cmd_name}", __package__).command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command that the arguments ask for.

        Raises:
            click.UsageError: there is none of this name; the nearest names are told.
        """
        # click would look for near names among the commands that are already imported: none.
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise click.exceptions.NoSuchCommand(args[0], possibilities=_COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:  # type: ignore[override]
        """The program's end: an exit code, with a sentence on stderr if it is not 0."""
        settings = Settings()
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, obj=settings, **kwargs)
            sys.stdout.flush()
        except click.Abort:
            click.echo("Interrupted.", err=True)
            code = 130
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except BrokenPipeError:
            code = _reader_has_left()
        except Exception as error:
            code = _told(error, settings.debug)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """What the command returns."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # click itself would call this a failure.
            return _reader_has_left()


def _reader_has_left() -> int:
    """Nobody reads our output any more (`interp models | head -1`): stop quietly, flush nothing into the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _told(error: Exception, debug: bool) -> int:
    # Imports torch, which by now is imported anyway unless the error is our own.
    from .exit_codes import INTERNAL, exit_code

    code = exit_code(error)
    if debug:
        traceback.print_exception(error)
    elif code == INTERNAL:
        click.echo(
            f"Error: interp itself failed ({type(error).__name__}: {error}). Run again with --debug to see where.",
            err=True,
        )
    else:
        click.echo(f"Error: {error}", err=True)
    return code


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="interp")
def cli() -> None:
    """Take a transformer apart, and say in words, numbers and figures what was found.

    MODEL is the name of a bundled model (`interp models`) or a folder. Results go to stdout, progress to stderr.
    Exit codes: 0 ok, 1 internal error, 2 usage, 3 bad file, 4 invalid result, 5 partial result, 130 interrupted.
    """


def main() -> None:
    """The console script."""
    cli(prog_name="interp")
