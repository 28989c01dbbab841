"""What the library asks of a model. It knows models through this file only."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


class Handle(Protocol):
    """What a hook point keeps of one hook."""

    hook: Any
    """PyTorch's handle; `hook.remove()` takes the hook off."""


class Point(Protocol):
    """One named place of the forward pass, as TransformerLens' `HookPoint` is.

    It may also have `axes` (the names of the activation's axes) and `enabled` (whether it fires at all).
    """

    fwd_hooks: list[Any]

    def add_hook(self, hook: Any) -> Any:
        """The handle of a hook `(activation, hook=point) -> activation`, called after those already there."""
        ...


@runtime_checkable
class HookedModel(Protocol):
    """A model with named hook points: our HookedTransformer, and TransformerLens 4's TransformerBridge.

    Attributes:
        cfg: has at least `n_layers`, `n_heads`, `d_model`, `d_head`, under TransformerLens' names.
        hook_dict: the hook points by name.
    """

    @property
    def cfg(self) -> Any: ...

    @property
    def hook_dict(self) -> Mapping[str, Any]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The logits `[batch, pos, d_vocab]` of tokens `[batch, pos]`."""
        ...
