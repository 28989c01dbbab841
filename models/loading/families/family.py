"""What one architecture is in our terms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .fields import Fields
from .layout import Layout

State = dict[str, Tensor]


def _unchanged(fields: Fields, state: State) -> State:
    return state


@dataclass(frozen=True)
class Family:
    """The way from Hugging Face's config and weights to ours.

    Attributes:
        config: the fields of our config. It reads or refuses every field that changes the computation.
        layout: where the weights are stored.
        needed: the fields that a `config.json` must hold itself, because no default is right for a given file.
        rewritten: the weights where they are not ours as stored (Gemma), in the model's dtype.
    """

    config: Callable[[Fields], dict[str, Any]]
    layout: Callable[[Fields], Layout]
    needed: tuple[str, ...]
    rewritten: Callable[[Fields, State], State] = _unchanged
