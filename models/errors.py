"""What the model refuses, each as a type of its own: what was given, what was expected, the nearest right thing."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """A configuration that names no model, or a model that this package does not build."""


class UnknownPointError(KeyError):
    """A hook name that the model does not have."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        nearest = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
        super().__init__(f"no hook point is called {name!r}.{hint} The model has {len(known)} hook points.")

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would hide the sentence behind escapes.
        return self.args[0]


class NoPointMatchedError(ValueError):
    """A filter over hook names that selects none of the points that fire."""


class PointOffError(ValueError):
    """A hook point that the configuration has switched off, so that a hook on it could never fire."""


class HookNeverFiredError(RuntimeError):
    """A hook that was installed and did not fire during the run it was installed for."""


class HookReturnError(ValueError):
    """A hook that returned something that cannot stand in for the activation it was given."""


class InputError(ValueError):
    """Tokens, residuals or masks that the model cannot take."""


class MissingWeightError(InputError, AttributeError):
    """A weight that models of this configuration do not have; an `AttributeError`, so that `hasattr` says no."""


class CheckpointError(ValueError):
    """A file that is not the checkpoint it claims to be, or not one for this model."""


class TokenizerError(ValueError):
    """Text was given where there is no tokenizer, or text that is not what the call needs."""


class CorpusError(ValueError):
    """Training text that is missing, or too short for what is asked of it."""


class TrainingError(RuntimeError):
    """A training run that cannot start in this folder, or whose loss is no longer a number."""


class ProcessingError(ValueError):
    """A rewriting of the weights that would change what this model computes."""
