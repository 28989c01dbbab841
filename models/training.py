"""From a recipe to a folder with a trained model and its card."""

from collections.abc import Callable
from pathlib import Path

from .addition import EQUALS, AdditionData, addition_tokenizer
from .addition_card import write_addition_card
from .card import write_card
from .corpus import standard_library
from .errors import TrainingError
from .fitting import CHECKPOINT, Progress, Trained, fit
from .loading.folder import save
from .loading.saved import MANIFEST
from .recipes import Recipe
from .text_data import TextData
from .tokenizer import as_hugging_face


def train(
    recipe: Recipe, out: str | Path, progress: Callable[[Progress], None] | None = None
) -> Trained[TextData] | Trained[AdditionData]:
    """The model that the recipe makes of its data, saved in the folder `out`.

    The folder then loads by `models.loading.folder.load`; `card.md`, `card.json` and what the analyses read by default
    stand beside. A run that was stopped goes on from its last checkpoint when it is started again with the same folder.

    Args:
        progress: called after every step; nothing is printed.

    Raises:
        TrainingError: the folder holds a finished model or another run's checkpoint, or the loss is not finite.
        CorpusError: this Python has no sources of its standard library, or too few for the recipe.
    """
    folder = Path(out)
    if (folder / MANIFEST).exists():
        raise TrainingError(f"{folder} already holds a model ({MANIFEST}); choose another folder, or remove it")
    trained = (
        _on_sums(recipe, folder, progress) if recipe.task == "modular-addition" else _on_text(recipe, folder, progress)
    )
    # The manifest last: a folder that has one is complete.
    save(trained.model.eval(), folder)
    (folder / CHECKPOINT).unlink()
    return trained


def _on_text(recipe: Recipe, folder: Path, progress: Callable[[Progress], None] | None) -> Trained[TextData]:
    trained = fit(recipe, TextData.prepared(recipe, standard_library()), folder, progress)
    trained.model.set_tokenizer(as_hugging_face(trained.data.tokenizer))
    write_card(recipe, trained, folder)
    return trained


def _on_sums(recipe: Recipe, folder: Path, progress: Callable[[Progress], None] | None) -> Trained[AdditionData]:
    trained = fit(recipe, AdditionData.prepared(recipe), folder, progress)
    trained.model.set_tokenizer(as_hugging_face(addition_tokenizer(recipe.architecture.d_vocab - 1), EQUALS))
    write_addition_card(recipe, trained, folder)
    return trained
