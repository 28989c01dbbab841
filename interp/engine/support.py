"""Whether the exact engine can run a sweep, and if not, why."""

from collections.abc import Collection, Iterable
from typing import Any

from ..replacing import Change
from .changes import is_rows
from .schedule import stages_of

ASKED = ("context_of", "logits_of", "some_logits_of", "blocks")
"""What the engine asks of a model, beside the functions of its blocks: our HookedTransformer has it."""


def why_not(model: Any, changes: Iterable[Change], frozen: Collection[str]) -> str | None:
    """Why the exact engine cannot run these changes on this model; None if it can."""
    missing = [name for name in ASKED if not hasattr(model, name)]
    if missing:
        return f"a {type(model).__name__} is not built of blocks that can be called by themselves (no {missing[0]})"
    hooked = [name for name, point in model.hook_dict.items() if point.hooked]
    if hooked:
        return f"the model has hooks, the first at {hooked[0]}, and they would see packed rows"
    cells = {cell.name: cell for change in changes for cell in change}
    for name in [*cells, *frozen]:
        if stages_of(name) is None:
            return f"{name} is not a point at which rows can be changed"
    for change in changes:
        for cell in change:
            if not is_rows(cell):
                return f"{cell} selects prompts, or every so manieth index"
    return None
