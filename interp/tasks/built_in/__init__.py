"""The tasks that come with the library, one a file."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ...errors import UnknownTaskError
from ..task import DrawnTask
from .agreement import agreement
from .brackets import brackets
from .capitals import capitals
from .docstring import docstring
from .greater_than import greater_than
from .induction import induction
from .ioi import ioi
from .key_value import key_value
from .pronouns import pronouns

TASKS: Mapping[str, Callable[..., DrawnTask]] = MappingProxyType(
    {
        "induction": induction,
        "ioi": ioi,
        "greater-than": greater_than,
        "agreement": agreement,
        "docstring": docstring,
        "brackets": brackets,
        "key-value": key_value,
        "pronouns": pronouns,
        "capitals": capitals,
    }
)
"""The built-in tasks by name: each of `n_prompts` and `seed`."""


def built_in(name: str, n_prompts: int = 32, seed: int = 0) -> DrawnTask:
    """The built-in task of this name.

    Raises:
        UnknownTaskError: there is none; the message names the nearest.
    """
    if name not in TASKS:
        raise UnknownTaskError(name, TASKS)
    return TASKS[name](n_prompts, seed)
