"""Warnings that point at the user's own line: Python shows each line's once, and ours would be shown once for all."""

import sys
import warnings

# This package, and what wraps its functions: `torch.no_grad`, type checkers.
_INSIDE = {__name__.split(".")[0], "torch", "jaxtyping", "beartype", "contextlib"}


def warned(message: str) -> None:
    """A UserWarning at the line that called this package."""
    frame, level = sys._getframe(0), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
