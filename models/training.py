"""From a recipe to a folder with a trained model and its card."""

from collections.abc import Callable
from pathlib import Path

from .card import write_card
from .corpus import standard_library
from .errors import TrainingError
from .fitting import CHECKPOINT, Progress, Trained, fit
from .loading.folder import save
from .loading.saved import MANIFEST
from .recipes import Recipe
from .tokenizer import as_hugging_face


def train(recipe: Recipe, out: str | Path, progress: Callable[[Progress], None] | None = None) -> Trained:
    """The model that the recipe makes of the standard library of the running Python, saved in the folder `out`.

    The folder then loads by `models.loading.folder.load`; `card.md`, `card.json` and `sample.txt` stand beside.
    A run that was stopped goes on from its last checkpoint when it is started again with the same folder.

    Args:
        progress: called after every step; nothing is printed.

    Raises:
        TrainingError: the folder holds a finished model or another run's checkpoint, or the loss is not finite.
        CorpusError: this Python has no sources of its standard library, or too few for the recipe.
    """
    folder = Path(out)
    if (folder / MANIFEST).exists():
        raise TrainingError(f"{folder} already holds a model ({MANIFEST}); choose another folder, or remove it")
    trained = fit(recipe, standard_library(), folder, progress)
    trained.model.set_tokenizer(as_hugging_face(trained.tokenizer))
    write_card(recipe, trained, folder)
    # The manifest last: a folder that has one is complete.
    save(trained.model.eval(), folder)
    (folder / CHECKPOINT).unlink()
    return trained
