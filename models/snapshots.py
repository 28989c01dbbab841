"""What `run_with_cache` keeps of a run."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformer_lens.utilities import Slice

from .errors import InputError
from .hook_point import HookPoint


class Snapshots:
    """Activations copied out of a run, so that no entry can be changed through another or by a later hook."""

    def __init__(
        self,
        points: Mapping[str, HookPoint],
        device: torch.device | str | None,
        remove_batch_dim: bool,
        pos_slice: Slice,
    ) -> None:
        self.activations: dict[str, Tensor] = {}
        self._seen: set[tuple[int, torch.Size, tuple[int, ...]]] = set()
        # Only a hook can write into an activation after it was read; without hooks a copy would be wasted.
        # A slice is copied too: a view of it would keep the whole activation in memory.
        hooked = any(point.hooked for point in points.values())
        self._copy_all = hooked or pos_slice.mode != "identity"
        self._points = points
        self._device = device
        self._remove_batch_dim = remove_batch_dim
        self._pos_slice = pos_slice

    def read(self, name: str, activation: Tensor) -> None:
        """The activation kept under its name."""
        self.activations[name] = self._kept(name, activation)

    def read_gradient(self, gradient: Tensor, hook: HookPoint) -> None:
        """The gradient kept under its point's name with `_grad` behind it."""
        self.activations[f"{hook.name}_grad"] = self._kept(str(hook.name), gradient)

    def _kept(self, name: str, activation: Tensor) -> Tensor:
        kept = activation.detach()
        # The position axis is the query's for scores and patterns, else the one behind the batch.
        axes = self._points[name].axes
        if "query" in axes or kept.ndim > 1:
            kept = self._pos_slice.apply(kept, dim=axes.index("query") if "query" in axes else 1)
            if not kept.numel():
                raise InputError(f"pos_slice selects no position of {name}, which has {activation.shape[1]}")
        if self._remove_batch_dim:
            if kept.shape[0] != 1:
                raise InputError(f"remove_batch_dim needs a batch of one; {name} has a batch of {kept.shape[0]}")
            kept = kept.squeeze(0)
        key = (kept.data_ptr(), kept.shape, kept.stride())
        if self._copy_all or key in self._seen:
            kept = kept.clone()
        self._seen.add(key)
        return kept if self._device is None else kept.to(self._device)
