"""Editing activations for the length of a block: installed whole, checked at every firing, removed exactly.

An edit is a function from the activation to its replacement. It is given a copy, so writing into it is allowed
and reaches nobody else's tensors, but it must *return* the result.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .bridge_points import instead, is_bridge, past_the_mlp, why_discarded
from .carried import Carried
from .errors import (
    CompiledModelError,
    DiscardedEditError,
    EmptyMatchError,
    HookNeverFiredError,
    HookReturnError,
    NonFiniteError,
    UnchangedError,
)
from .protocol import HookedModel
from .sites import Cell, Site, site

Edit = Callable[..., Any]
Place = str | Site | Cell
PlaceT = TypeVar("PlaceT", bound=Place)

# The blocks that act in this thread (or task). A new thread starts with none, so it never sees another's edits.
_acting: ContextVar[tuple["_Block", ...]] = ContextVar("acting", default=())


@dataclass(eq=False)
class _Block:
    """One `edited` block: its rules, and how often each of its edits has fired."""

    must_change: bool
    cast: bool
    allow_nonfinite: bool
    fired: dict[str, int] = field(default_factory=dict)
    open: bool = True


@contextmanager
def edited(
    model: HookedModel,
    edits: Mapping[PlaceT, Edit],
    *,
    must_fire: bool = True,
    must_change: bool = False,
    cast: bool = False,
    allow_nonfinite: bool = False,
) -> Iterator[Mapping[str, int]]:
    """How often each edit has fired; within the block, the model's activations are edited.

    An edit is `activation -> activation` or `(activation, site) -> activation`. At a cell (`site.at(head=3)`) it is
    given, and returns, the selected part. All names are checked before the first edit is installed. On exit, also by
    an exception, this block's hooks are removed and no others.

    Order: edits at one point act in the order of the mapping, after the hooks that already stood there; so an outer
    block's edits come before an inner one's. Edits act in the thread (or asyncio task) that opened the block, not in
    others. A forward pass that an edit itself runs does not see the edits of its own block.

    Args:
        must_fire: each edit must have fired when the block ends without an exception.
        must_change: each firing must change the activation.
        cast: a result of another dtype or device, or a NumPy array, is converted instead of refused.
        allow_nonfinite: NaN and infinities are let through. -inf is always legal in attention scores.

    Raises:
        UnknownPointError, PointOffError: as `site`; before anything is installed.
        EmptyMatchError: there are no edits.
        CompiledModelError: the model, or a part of it, is under `torch.compile`, which skips a hook added later without
            a word in some models.
        HookReturnError: an edit returned None after writing into its argument, or another type, shape, dtype, device.
        UnchangedError: an edit returned None and did nothing; or under `must_change`, what it was given.
        NonFiniteError: an edit's result is not finite.
        HookNeverFiredError: an edit's point was never reached, or no forward pass was run.
        DiscardedEditError: a TransformerBridge would throw the edit's result away.
    """
    _refuse_compiled(model)
    cells = [_cell(model, place) for place in edits]
    if not cells:
        raise EmptyMatchError("there is nothing to edit: the mapping of edits is empty")
    block = _Block(must_change, cast, allow_nonfinite, {str(cell): 0 for cell in cells})
    hooks = [_Hook(block, cell, edit) for cell, edit in zip(cells, edits.values(), strict=True)]
    points = [model.hook_dict[cell.name] for cell in cells]
    beside: list[tuple[Any, Callable[..., Any]]] = [watched for hook in hooks for watched in hook.watched(model)]
    outside = _acting.get()
    try:
        for point, hook in zip(points, hooks, strict=True):
            point.add_hook(hook)
        for point, function in beside:
            point.add_hook(function, prepend=True)
        _acting.set((*outside, block))
        yield block.fired
    finally:
        block.open = False
        for point, hook in zip(points, hooks, strict=True):
            _remove(point, hook)
        for point, function in beside:
            _remove(point, function)
        _acting.set(outside)
    silent = [name for name, times in block.fired.items() if not times]
    if must_fire and silent:
        others = f", nor did {len(silent) - 1} other{'s' if silent[2:] else ''}" if silent[1:] else ""
        hint = instead(silent[0]) if is_bridge(model) else None
        raise HookNeverFiredError(
            f"the edit at {silent[0]} did not fire{others}: no forward pass reached it inside the block, in this thread"
            + (f"; of a bridge whose point never fires: {hint}" if hint else "")
        )


def _cell(model: HookedModel, place: Place) -> Cell:
    if isinstance(place, Cell):
        site(model, place.name)
        return place
    return site(model, place.name if isinstance(place, Site) else place).at()


def _refuse_compiled(model: HookedModel) -> None:
    # PyTorch does not guard compiled graphs on a module's hooks by default: in a compiled TransformerLens bridge one
    # added later is skipped. Points that keep lists of their hooks are guarded, but a model does not say which it has.
    for module in model.modules() if isinstance(model, nn.Module) else ():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise CompiledModelError(
                f"{type(module).__name__} is under torch.compile, where a hook may be skipped without a word; edit the "
                "uncompiled model"
            )


def _remove(point: Any, hook: Callable[..., Any]) -> None:
    # By our own function: a handle list kept here could miss the hook an interrupt arrived at.
    for handle in [handle for handle in point.fwd_hooks if hook == handle.user_hook]:
        handle.hook.remove()
        point.fwd_hooks.remove(handle)


class _Hook:
    """One edit at one cell, as the function that a hook point calls."""

    def __init__(self, block: _Block, cell: Cell, edit: Edit) -> None:
        self.block = block
        self.cell = cell
        self.edit = edit
        self.takes_site = _takes_two(edit)
        self.discarded: str | None = None
        self.carried: Carried | None = None

    def watched(self, model: HookedModel) -> list[tuple[Any, Callable[..., Any]]]:
        """The functions that must stand at other points for the edit to do what its point is named after."""
        self.discarded = why_discarded(model, self.cell.name)
        elsewhere = past_the_mlp(model, self.cell.name)
        if elsewhere is None:
            return []
        points = model.hook_dict
        point, written, end = (points[name] for name in (self.cell.name, *elsewhere))
        self.carried = Carried(self.cell.name, point, written, lambda: self.block in _acting.get())
        return [(written, self.carried.mlp), (end, self.carried.end)]

    def __call__(self, activation: Tensor, hook: Any = None) -> Tensor | None:
        acting = _acting.get()
        if not self.block.open or self.block not in acting:
            return None
        self.block.fired[str(self.cell)] += 1
        selected = self.cell.read(activation)
        token = _acting.set(acting[: acting.index(self.block)])
        try:
            given = selected.clone()
            value = self.edit(given, self.cell.site) if self.takes_site else self.edit(given)
        except BaseException as error:
            error.add_note(f"raised by the edit at {self.cell}")
            raise
        finally:
            _acting.reset(token)
        result = self.cell.written(activation, self.checked(value, given, selected))
        if self.discarded is not None and not torch.equal(result, activation):
            raise DiscardedEditError(f"the bridge throws away what the edit at {self.cell} returns: {self.discarded}")
        if self.carried is not None:
            self.carried.keep(activation, result)
        return result

    def checked(self, value: object, given: Tensor, before: Tensor) -> Tensor:
        """The edit's result, fit to stand in for the activation."""
        if value is None:
            if torch.equal(given, before):
                raise UnchangedError(
                    f"the edit at {self.cell} returned None and changed nothing; an edit returns the new activation"
                )
            raise HookReturnError(
                f"the edit at {self.cell} wrote into the activation and returned None; return what it wrote into"
            )
        if self.block.cast and isinstance(value, Tensor | np.ndarray):
            value = torch.as_tensor(value).to(before)
        if not isinstance(value, Tensor):
            raise HookReturnError(f"the edit at {self.cell} returned a {type(value).__name__}, not a tensor{_HINT}")
        got = (tuple(value.shape), value.dtype, value.device)
        want = (tuple(before.shape), before.dtype, before.device)
        if got != want:
            named = f" ({' '.join(self.cell.axes)})" if self.cell.axes else ""
            hint = _HINT if got[0] == want[0] and not self.block.cast else ""
            raise HookReturnError(
                f"the edit at {self.cell} returned shape {got[0]}, {got[1]}, on {got[2]}; the activation there has "
                f"shape {want[0]}{named}, {want[1]}, on {want[2]}{hint}"
            )
        if not self.block.allow_nonfinite:
            self.check_finite(value, before)
        if self.block.must_change and torch.equal(value, before):
            raise UnchangedError(f"the edit at {self.cell} returned the activation unchanged")
        return value

    def check_finite(self, value: Tensor, before: Tensor) -> None:
        """Nothing, if every number is finite, or -inf where scores may be."""
        bad = ~value.isfinite()
        if self.cell.name.endswith("hook_attn_scores"):
            bad &= value != -torch.inf
        if bool(bad.any()):
            already = "; the activation it was given was not finite either" if not before.isfinite().all() else ""
            raise NonFiniteError(
                f"the edit at {self.cell} returned {int(bad.sum())} numbers that are not finite, the first at "
                f"{tuple(bad.nonzero()[0].tolist())}{already}; pass allow_nonfinite=True if that is meant"
            )


_HINT = "; pass cast=True to have it converted"


def _takes_two(edit: Edit) -> bool:
    try:
        parameters = inspect.signature(edit).parameters.values()
    except (TypeError, ValueError):  # a builtin has no signature; torch's own functions take the activation
        return False
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) > 1
