"""GGUF's types of numbers: how many bytes hold how many, and the numbers themselves in float32."""

from typing import Any

import numpy as np

from ..errors import CheckpointError

# The types that are plain numbers; all others are blocks, which the package gguf unpacks.
_PLAIN = {"F64": "<f8", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}

_AT_ONCE = 2**20
"""So many numbers are unpacked in one go."""


def block_of(kind: int, what: str) -> tuple[int, int]:
    """How many numbers of a row are stored together, and in how many bytes.

    Args:
        what: the tensor, for the message.

    Raises:
        CheckpointError: there is no such type, or the package `gguf` is not installed.
    """
    gguf = _package(what)
    return gguf.GGML_QUANT_SIZES[_named(gguf, kind, what)]


def dequantised(stored: np.ndarray, kind: int, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The numbers that the bytes stand for, in float32 and in memory of their own.

    Raises:
        CheckpointError: the package `gguf` cannot unpack this type.
    """
    gguf = _package(what)
    name = _named(gguf, kind, what)
    if name.name in _PLAIN:
        return stored.view(_PLAIN[name.name]).astype(np.float32).reshape(shape)
    numbers = np.empty(shape, np.float32)
    unpacked = numbers.reshape(-1, shape[-1])
    packed = stored.reshape(len(unpacked), -1)
    # The package makes several arrays of the size of what it is given.
    n_rows = max(1, _AT_ONCE // shape[-1])
    try:
        for first in range(0, len(unpacked), n_rows):
            unpacked[first : first + n_rows] = gguf.dequantize(packed[first : first + n_rows], name)
    except NotImplementedError as error:
        raise CheckpointError(f"{what} is quantised as {name.name}, which gguf cannot unpack: {error}") from error
    return numbers


def _named(gguf: Any, kind: int, what: str) -> Any:
    try:
        return gguf.GGMLQuantizationType(kind)
    except ValueError as error:
        raise CheckpointError(f"{what} is quantised as type {kind}, which gguf does not know") from error


def _package(what: str) -> Any:
    try:
        import gguf  # optional, and needed for nothing else
    except ImportError as error:
        raise CheckpointError(f"{what} needs the package gguf to be read: pip install 'interp[gguf]'") from error
    return gguf
