"""Keywords that a function does not have, told with the nearest that it has."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # A type checker refuses a misspelt keyword; at run time it must come in, to be told what was meant.
    from typing import Never as NoKeyword
else:
    NoKeyword = Any


def require_no_others(misspelt: Iterable[str], function: Callable[..., Any]) -> None:
    """Nothing, if no keyword was left over.

    Raises:
        TypeError: one was; Python's own error would name the class inside which the function is written, and no remedy.
    """
    for name in misspelt:
        kinds = {known: parameter.kind for known, parameter in signature(function).parameters.items()}
        names = [known for known, kind in kinds.items() if kind is Parameter.KEYWORD_ONLY]
        nearest = get_close_matches(name, names, n=1)
        remedy = f"Did you mean {nearest[0]!r}?" if nearest else f"It takes {', '.join(names)}."
        raise TypeError(f"{function.__name__} takes no keyword {name!r}. {remedy}")
