"""What the library asks of a model. It knows models through this file only."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class HookedModel(Protocol):
    """A model with named hook points: our HookedTransformer, and TransformerLens 4's TransformerBridge.

    Attributes:
        cfg: has at least `n_layers`, `n_heads`, `d_model`, `d_head`, under TransformerLens' names.
        hook_dict: the hook points by name, as TransformerLens 4's `HookPoint`: `add_hook(function)`, and the handles
            of what was added in `fwd_hooks`. A point may also have `axes`, the names of its activation's axes, and
            `enabled`, whether it fires at all, with `switch`, the config field that decides it.
    """

    @property
    def cfg(self) -> Any: ...

    @property
    def hook_dict(self) -> Mapping[str, Any]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The logits `[batch, pos, d_vocab]` of tokens `[batch, pos]`."""
        ...
