"""`interp train`: a model by a recipe, into a folder that every other command takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from models.fitting import Progress
from models.recipes import RECIPES, Recipe
from models.training import train

from ..errors import did_you_mean
from ..rendering import as_json
from .arguments import OutputFolder, json_option
from .progress import note


class RecipeArgument(click.ParamType):
    """The name of a recipe."""

    name = "recipe"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Recipe:
        """The recipe; a usage error with the nearest names if there is none."""
        if isinstance(value, str) and value not in RECIPES:
            known = ", ".join(RECIPES)
            raise click.UsageError(
                f"no recipe is called {value!r}.{did_you_mean(value, RECIPES)} Recipes: {known}.", ctx
            )
        return RECIPES[value] if isinstance(value, str) else value


@click.command("train")
@click.argument("recipe", metavar="RECIPE", type=RecipeArgument())
@click.option("--out", "folder", type=OutputFolder(), help="Where the model goes. Default: out/RECIPE.")
@json_option
def command(recipe: Recipe, folder: Path | None, json_wanted: bool) -> None:
    """Train a model by a recipe. A run that was stopped goes on where it was when it is started again."""
    folder = folder or Path("out") / recipe.name
    if (folder / "config.json").exists():
        raise click.UsageError(f"{str(folder)!r} already holds a model; choose another folder with --out")
    note(f"{recipe.name}: {recipe.steps} steps of {recipe.batch} × {recipe.architecture.n_ctx} tokens, into {folder}")
    try:
        with _bar(recipe.steps) as progress:
            trained = train(recipe, folder, progress)
    except KeyboardInterrupt:
        note("Stopped. The same command goes on from the last checkpoint.")
        raise
    last = trained.curve[-1]
    if json_wanted:
        click.echo(
            as_json(
                {
                    "folder": str(folder),
                    "held_out_loss_nats": last.held_out_loss,
                    "standard_error": last.held_out_standard_error,
                }
            )
        )
    else:
        click.echo(
            f"Held-out loss: {last.held_out_loss:.4f} ± {last.held_out_standard_error:.4f} nats for each token "
            f"predicted, on the sample of the loss curve; card.md has the loss on all\nModel: {folder}"
        )


@contextmanager
def _bar(steps: int) -> Iterator[Callable[[Progress], None]]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=steps)

        def progress(now: Progress) -> None:
            bar.update(task, completed=now.step, description=f"loss {now.loss:.3f}")
            if now.point is not None:
                note(f"step {now.step}: held-out loss {now.point.held_out_loss:.4f} nats per token")

        yield progress
