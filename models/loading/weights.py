"""The tensors of a checkpoint by the names it stores them under: read when asked for, each taken once."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..errors import CheckpointError
from .state import require_finite

_SHOWN = 6


class Weights:
    """Stored tensors, each read when it is taken, in the dtype they are stored in.

    A tensor that is missing is noted and replaced by one without numbers, so that `require_all_used` can name
    everything that is missing and everything that was left over in one message.

    Attributes:
        dtype: what most of the numbers are stored in.
        origin: the file or object they come from, for messages.
        remaining: the names not taken so far.
    """

    def __init__(self, names: Iterable[str], read: Callable[[str], Tensor], dtype: torch.dtype, origin: str) -> None:
        self.remaining = set(names)
        self.dtype = dtype
        self.origin = origin
        self._read = read
        self._missing: list[str] = []

    def has(self, name: str) -> bool:
        """Whether the tensor is there and not yet taken."""
        return name in self.remaining

    def take(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor, which must have this shape and hold finite numbers.

        Args:
            dtype: what it is converted to (default: not at all). A number beyond the range of this is not finite.

        Raises:
            CheckpointError: another shape, a tensor that is not of floating-point numbers or not finite.
        """
        if name not in self.remaining:
            self._missing.append(name)
            return torch.empty(shape, dtype=dtype or self.dtype, device="meta")
        self.remaining.remove(name)
        weight = self._read(name)
        if tuple(weight.shape) != shape:
            raise CheckpointError(
                f"{self.origin}: {name} has shape {list(weight.shape)}; the config asks for {list(shape)}"
            )
        if not weight.is_floating_point() or weight.dtype.itemsize == 1:
            raise CheckpointError(f"{self.origin}: {name} holds {weight.dtype}: quantised weights are not read")
        weight = weight if dtype is None else weight.to(dtype)
        require_finite(f"{self.origin}: {name}", weight)
        return weight

    def drop(self, is_redundant: Callable[[str], object]) -> None:
        """Leaves out what the config determines: causal masks, rotary frequencies."""
        self.remaining = {name for name in self.remaining if not is_redundant(name)}

    def require_all_used(self) -> None:
        """Nothing, if every tensor that was asked for was there, and every one that was there was asked for.

        Raises:
            CheckpointError: both lists.
        """
        if self._missing or self.remaining:
            raise CheckpointError(
                f"{self.origin} does not hold this model's weights: missing {_listed(self._missing)}; "
                f"without a place {_listed(sorted(self.remaining))}. Either its config describes another model, "
                "or the file is not whole"
            )


def _listed(names: list[str]) -> str:
    if not names:
        return "nothing"
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
