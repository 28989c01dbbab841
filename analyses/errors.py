"""What the command line refuses, each as a type of its own. Torch-free, so that a wrong name is told at once."""

from collections.abc import Iterable
from difflib import get_close_matches


class BadFileError(ValueError):
    """A file or folder that is not what it should be."""


class InvalidResultError(ValueError):
    """A result that cannot be what it claims: a headline number that is not finite."""


class PartialResultError(RuntimeError):
    """A result of which a part is missing, and of which the rest is kept."""


class PairError(ValueError):
    """Two prompts that cannot be compared token by token."""


class OptionError(ValueError):
    """An option of an analysis that does not fit the model or the tokens."""


class NothingToChooseError(ValueError):
    """A model whose attention sees one key everywhere, so that no pattern can differ from another."""


class NotApplicableError(ValueError):
    """A question that cannot be asked of this model: it lacks what the question is about."""


class ComparisonError(ValueError):
    """Two models that cannot be compared: the same tokens do not mean the same to both."""


class FigureError(ValueError):
    """A figure whose labels do not fit its values."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known words, or nothing if none is near."""
    nearest = get_close_matches(given, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
