"""What the library refuses, each as a type of its own: what was given, what was expected, the nearest right thing."""

from collections.abc import Iterable
from difflib import get_close_matches


class UnknownPointError(KeyError):
    """A hook name that the model does not have."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        super().__init__(f"no hook point is called {name!r}.{did_you_mean(name, known)} The model has {len(known)}.")

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would hide the sentence behind escapes.
        return self.args[0]


class EmptyMatchError(ValueError):
    """A pattern, range of layers or set of edits that selects nothing."""


class PointOffError(ValueError):
    """A hook point that the configuration has switched off, so that a hook on it could never fire."""


class AxisError(ValueError):
    """An axis that the activation does not have, or axes that are not known."""


class OutOfRangeError(IndexError):
    """An index or slice that reaches outside its axis."""


class HookNeverFiredError(RuntimeError):
    """An edit at a point that no forward pass reached while it was installed."""


class DiscardedEditError(RuntimeError):
    """An edit that the model throws away, or that does not reach all of what its point is named after."""


class CompiledModelError(RuntimeError):
    """A model under `torch.compile`, whose graph may have been traced without the hooks it is to be given."""


class HookReturnError(ValueError):
    """An edit whose result cannot stand in for the activation: its type, shape, dtype or device is another."""


class NonFiniteError(ValueError):
    """An edit whose result holds NaN or an infinity."""


class UnchangedError(ValueError):
    """An edit that left the activation as it was."""


class ShapeError(ValueError):
    """Values whose shape is not that of the activation they are meant for."""


class TokensError(ValueError):
    """Tokens with which a question cannot be answered."""


class MetricError(ValueError):
    """A metric that does not give one number per prompt."""


class DegenerateBaselineError(ValueError):
    """Two runs that a metric cannot tell apart, so that no effect can be set in proportion to their difference."""


class MemoryBudgetError(MemoryError):
    """Work whose smallest part does not fit the memory that it was given."""


class EngineError(ValueError):
    """A sweep that the engine asked for cannot run; the message says why, and which can."""


class JournalError(ValueError):
    """A folder of a sweep's finished parts that belongs to another sweep, or holds what cannot be read."""


class VerificationError(RuntimeError):
    """Cells run again the plain way came out differently than rounding explains."""


class AlignmentError(ValueError):
    """Results, or parts of one, that do not belong to the same cells, prompts or metric."""


class EffectsFileError(ValueError):
    """A folder that does not hold saved effects, or not as they were saved."""


class NotASumError(ValueError):
    """A stream, score or set of logits that is no sum of what was written, so that it has no shares."""


class TaskFileError(ValueError):
    """A file of prompt pairs that is not what it should be; the message names the row."""


class UnknownTaskError(KeyError):
    """A name that no built-in task has."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        super().__init__(f"no task is called {name!r}.{did_you_mean(name, known)} There are {', '.join(known)}.")

    def __str__(self) -> str:
        # As above: KeyError would show the sentence behind escapes.
        return self.args[0]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x' or 'y'?` for the nearest known names, or nothing."""
    nearest = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
