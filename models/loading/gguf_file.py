"""What a GGUF file says before any weight is read: its metadata and where each tensor lies, every length checked.

The package `gguf` has a reader too; it makes several objects for each of the 150,000 strings of a vocabulary, which
takes seconds, and it fails on damaged files in ways that name neither file nor reason: docs/decisions/0008.

Source: the GGUF specification, versions 2 and 3 (docs/gguf.md of the ggml project).
"""

import math
import mmap
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .gguf_cursor import Cursor
from .gguf_types import block_of

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_AXES = 4


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in the file.

    Attributes:
        shape: with the slowest axis first, as in PyTorch; the file has it the other way round.
        kind: the number of its quantisation type.
        start: its first byte in the file.
        end: the byte behind its last.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    end: int


@dataclass(frozen=True)
class Described:
    """A file and what it says of itself.

    Attributes:
        fields: the metadata by name: numbers, truth values, texts, and lists of these.
    """

    path: Path
    fields: dict[str, Any]


@dataclass(frozen=True)
class GgufFile(Described):
    """A file that is open for reading.

    Attributes:
        tensors: by name, in the order of the file.
        data: the bytes of the whole file, mapped and not read.
    """

    tensors: dict[str, StoredTensor]
    data: mmap.mmap

    def let_go(self, tensor: StoredTensor) -> None:
        """The tensor's pages are given back to the system; who reads it again reads them from the file again."""
        if not hasattr(mmap, "MADV_DONTNEED"):  # Windows
            return
        first = tensor.start - tensor.start % mmap.PAGESIZE
        if tensor.end > first:
            self.data.madvise(mmap.MADV_DONTNEED, first, tensor.end - first)


def open_gguf(path: str | Path) -> GgufFile:
    """The file, its metadata read and every tensor found to lie within it.

    Raises:
        CheckpointError: no such file, another format or version, a file that is cut off, or lengths, types, names
            and places that contradict one another.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise CheckpointError(f"{path} is not a GGUF file: it does not begin with {_MAGIC.decode()}")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    cursor = Cursor(data, path, at=len(_MAGIC))
    _require_version(path, cursor.number("uint32"))
    n_tensors, n_fields = cursor.number("uint64"), cursor.number("uint64")
    fields = _fields(cursor, n_fields)
    infos = [_tensor_info(cursor) for _ in range(n_tensors)]
    start = _aligned(cursor.at, _alignment(path, fields))
    tensors = [_placed(path, start, *info) for info in infos]
    _require_disjoint(path, tensors, len(data))
    return GgufFile(path, fields, {tensor.name: tensor for tensor in tensors}, data)


def _require_version(path: Path, version: int) -> None:
    if version and version & 0xFFFF == 0:
        raise CheckpointError(f"{path} was written for a big-endian machine, which is not read here")
    if version not in _VERSIONS:
        raise CheckpointError(f"{path} has GGUF version {version}; versions {_VERSIONS[0]} and {_VERSIONS[1]} are read")


def _fields(cursor: Cursor, count: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for _ in range(count):
        name = cursor.text()
        if name in fields:
            raise CheckpointError(f"{cursor.path} has two metadata fields of the name {name!r}")
        fields[name] = cursor.value(name)
    return fields


def _tensor_info(cursor: Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name, n_axes = cursor.text(), cursor.number("uint32")
    if not 1 <= n_axes <= _MOST_AXES:
        raise CheckpointError(f"{cursor.path}: the tensor {name!r} has {n_axes} axes; 1 to {_MOST_AXES} are possible")
    shape = tuple(cursor.number("uint64") for _ in range(n_axes))[::-1]
    return name, shape, cursor.number("uint32"), cursor.number("uint64")


def _alignment(path: Path, fields: dict[str, Any]) -> int:
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise CheckpointError(f"{path} has general.alignment={alignment!r}, which is not a power of two")
    return alignment


def _aligned(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment


def _placed(path: Path, data_start: int, name: str, shape: tuple[int, ...], kind: int, offset: int) -> StoredTensor:
    n_numbers, n_bytes = block_of(kind, f"{path}: the tensor {name!r}")
    if 0 in shape or shape[-1] % n_numbers:
        raise CheckpointError(
            f"{path}: the tensor {name!r} has shape {list(shape)}; its type packs {n_numbers} numbers of a row together"
        )
    start = data_start + offset
    return StoredTensor(name, shape, kind, start, start + math.prod(shape) // n_numbers * n_bytes)


def _require_disjoint(path: Path, tensors: list[StoredTensor], size: int) -> None:
    ordered = sorted(tensors, key=lambda tensor: (tensor.start, tensor.end))
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise CheckpointError(f"{path} has two tensors of one name")
    if ordered and ordered[-1].end > size:
        last = ordered[-1]
        raise CheckpointError(f"{path} is cut off: {last.name!r} ends at byte {last.end}, the file at byte {size}")
    for one, other in pairwise(ordered):
        if other.start < one.end:
            raise CheckpointError(f"{path}: the tensors {one.name!r} and {other.name!r} overlap")
