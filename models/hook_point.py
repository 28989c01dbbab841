"""Hook points: identity modules at which an activation can be read or replaced.

They are TransformerLens' own `HookPoint`, with four additions: each knows the names of its axes; each may be
switched off, and then refuses hooks; an edit that does not fit is an error; and reading many points at once
(`recording`) costs a dictionary look-up a point instead of a PyTorch hook.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Literal

import torch
from torch import Tensor
from transformer_lens.hook_points import HookPoint as TransformerLensHookPoint

from .errors import HookReturnError, PointOffError

Reader = Callable[[str, Tensor], None]

# A context variable, so that a recording in one thread never sees the forward pass of another.
_readers: ContextVar[Mapping["HookPoint", Reader] | None] = ContextVar("readers", default=None)


class HookPoint(TransformerLensHookPoint):
    """The identity, at a named place of the forward pass.

    Attributes:
        axes: names of the activation's axes, in order; see the glossary in `interp`.
        switch: the config field that turns the point on, or None where it always fires.
        enabled: whether the point fires at all under the present configuration.
    """

    def __init__(self, axes: str = "batch pos d_model", switch: str | None = None) -> None:
        super().__init__()
        self.axes = tuple(axes.split())
        self.switch = switch
        self.enabled = switch is None

    @property
    def hooked(self) -> bool:
        """Whether any hook, forward or backward, is installed here."""
        # The two lists are for torch.compile, which looks out for changes in them and not in PyTorch's dictionaries.
        if self.fwd_hooks or self.bwd_hooks:
            return True
        return bool(self._forward_hooks or self._backward_hooks or self._forward_pre_hooks or self._backward_pre_hooks)

    @property
    def observed(self) -> bool:
        """Whether anybody looks: a fused kernel may skip the activation exactly when nobody does."""
        readers = _readers.get()
        return self.hooked or (readers is not None and self in readers)

    def add_hook(
        self,
        hook: Callable[..., Any],
        dir: Literal["fwd", "bwd"] = "fwd",
        is_permanent: bool = False,
        level: int | None = None,
        prepend: bool = False,
        alias_names: list[str] | None = None,
    ) -> Any:
        """The handle of a hook that stays until it is removed; the arguments are TransformerLens'.

        Raises:
            PointOffError: the point is off, so that the hook would never fire.
        """
        self.require_on()
        checked = self._checked_gradient(hook) if dir == "bwd" else hook
        return super().add_hook(checked, dir, is_permanent, level, prepend, alias_names)

    def remove_handle(self, handle: Any) -> None:
        """One hook taken away by the handle that `add_hook` returned; nothing, if it is gone already."""
        handle.hook.remove()
        self.fwd_hooks = [kept for kept in self.fwd_hooks if kept is not handle]
        self.bwd_hooks = [kept for kept in self.bwd_hooks if kept is not handle]

    def require_on(self) -> None:
        """Nothing, if the point fires at all.

        Raises:
            PointOffError: it is off; the message names the call that turns it on.
        """
        if not self.enabled:
            raise PointOffError(f"{self.name} is off and would never fire; call model.set_{self.switch}(True) first")

    def __call__(self, activation: Tensor) -> Tensor:
        """The activation, edited by the hooks installed here.

        Raises:
            HookReturnError: a hook returned something of another type, shape, dtype or device.
        """
        if self.hooked:
            # A hook may run the model itself; that run is not the one being recorded.
            token = _readers.set(None)
            try:
                edited = super().__call__(activation)
            finally:
                _readers.reset(token)
            self._check(edited, activation)
            activation = edited
        readers = _readers.get()
        if readers is not None and self in readers:
            readers[self](self.name or "", activation)
        return activation

    def _checked_gradient(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(hook, updated=())
        def checked(gradient: Tensor, hook: "HookPoint") -> Any:
            edited = inner(gradient, hook=hook)
            if edited is not None:
                # PyTorch would sum a gradient of a larger shape down to the expected one without a word.
                self._check(edited[0] if isinstance(edited, tuple) and len(edited) == 1 else edited, gradient)
            return edited

        inner = hook
        return checked

    def _check(self, edited: object, activation: Tensor) -> None:
        if not isinstance(edited, Tensor):
            raise HookReturnError(
                f"the hook on {self.name} returned a {type(edited).__name__}; it must return a tensor, or None "
                "to leave the activation as it is"
            )
        given = (tuple(edited.shape), edited.dtype, edited.device)
        expected = (tuple(activation.shape), activation.dtype, activation.device)
        if given != expected:
            raise HookReturnError(
                f"the hook on {self.name} returned shape {given[0]}, {given[1]}, on {given[2]}; the activation "
                f"there has shape {expected[0]} ({' '.join(self.axes)}), {expected[1]}, on {expected[2]}"
            )


@contextmanager
def recording(readers: Mapping[HookPoint, Reader]) -> Iterator[None]:
    """Within the block, each point's reader is called with its name and its activation after all edits."""
    merged = dict(_readers.get() or {})
    for point, reader in readers.items():
        merged[point] = _both(merged[point], reader) if point in merged else reader
    token = _readers.set(merged)
    try:
        yield
    finally:
        _readers.reset(token)


def _both(outer: Reader, inner: Reader) -> Reader:
    def read(name: str, activation: Tensor) -> None:
        outer(name, activation)
        inner(name, activation)

    return read


def as_high_precision(activation: Tensor) -> Tensor:
    """The activation in float32 if it is a 16-bit number, else unchanged: sums of squares overflow in 16 bits."""
    return activation.float() if activation.dtype in (torch.float16, torch.bfloat16) else activation
