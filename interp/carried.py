"""An edit in the middle of a bridge's block, carried over to the stream that goes past the MLP."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .errors import DiscardedEditError

_OFF = 0.05
"""How far from a sum, as a share of the largest entry, the end of a block may be: 16-bit rounding, no other formula."""


class Carried:
    """What an edit changed of the stream that the MLP reads, added to the stream behind it.

    The bridge's `hook_resid_mid` fires on what the MLP's norm reads. The block then adds the MLP's output to the
    stream as it was before the edit; what the edit changed is added there, which is the same to rounding, and stays
    so for gradients.

    Args:
        name: of the point.
        point: the point itself.
        written: the point where the MLP writes.
        acting: whether the edit's block is open, in this thread.
    """

    def __init__(self, name: str, point: Any, written: Any, acting: Callable[[], bool]) -> None:
        self.name = name
        self.point = point
        self.written = written
        self.acting = acting
        self._before: Tensor | None = None
        self._change: Tensor | None = None
        self._mlp: Tensor | None = None

    def keep(self, before: Tensor, after: Tensor) -> None:
        """What the edit was given, and what it made of it."""
        self._before, self._change = before.detach(), after - before

    def mlp(self, activation: Tensor, hook: Any = None) -> None:
        """Called where the MLP writes: what it wrote is kept."""
        self._mlp = activation.detach() if self.acting() else None

    def end(self, activation: Tensor, hook: Any = None) -> Tensor | None:
        """Called at the end of the block, before all other hooks there."""
        before, change, mlp = self._before, self._change, self._mlp
        self._before = self._change = self._mlp = None
        if not self.acting() or before is None or change is None:
            return None
        # Beside other edits it is not known here what the block has added up.
        alone = len(self.point.fwd_hooks) == len(self.written.fwd_hooks) == 1
        if alone and mlp is not None and not _close(activation, before + mlp):
            raise DiscardedEditError(
                f"the edit at {self.name} cannot be carried over to the stream: in this bridge the end of the block is "
                "not that stream plus what the MLP writes; edit hook_resid_pre, hook_resid_post or the MLP's input"
            )
        return activation + change


def _close(got: Tensor, expected: Tensor) -> bool:
    if got.shape != expected.shape:
        return False
    # Written so that what is not finite passes: it says nothing about the formula.
    return not bool((got.detach() - expected).abs().max() > _OFF * expected.abs().max())
