"""The values of a GGUF file read one after another; whatever would lie behind the file's end is refused."""

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError

# In the order of the format's numbers for them; "text" and "list" have no fixed size.
_KINDS = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool", "text", "list", "uint64", "int64",
    "float64",
)  # fmt: skip
_LAYOUTS = {kind: np.dtype(kind).newbyteorder("<") for kind in _KINDS if kind not in ("text", "list")}
_LENGTH = struct.Struct("<Q")
_TRUTH = {0: False, 1: True}


class Cursor:
    """A place in the file, which moves on with everything that is read."""

    def __init__(self, data: mmap.mmap, path: Path, at: int) -> None:
        self.data = data
        self.path = path
        self.at = at

    def number(self, kind: str) -> Any:
        """The next number of this type.

        A float32 is read as the shortest decimal that rounds to it: 1e-05, as the config it was copied from had it.
        """
        layout = _LAYOUTS[kind]
        number = np.frombuffer(self.data, layout, 1, self._forward(layout.itemsize, f"a {kind}"))[0]
        if kind == "bool":
            return self._truth(int(number.view(np.uint8)))
        return float(str(number)) if kind == "float32" else number.item()

    def text(self) -> str:
        """The next text: its length, then UTF-8."""
        return self._texts(1)[0]

    def value(self, name: str) -> Any:
        """The next value of any type, which stands before it."""
        kind = self._kind(name)
        if kind == "text":
            return self.text()
        return self._list(name) if kind == "list" else self.number(kind)

    def _kind(self, name: str) -> str:
        kind = self.number("uint32")
        if kind >= len(_KINDS):
            raise CheckpointError(f"{self.path}: the metadata field {name!r} has the type {kind}, which does not exist")
        return _KINDS[kind]

    def _list(self, name: str) -> list[Any]:
        kind, count = self._kind(name), self.number("uint64")
        if kind == "list":
            raise CheckpointError(f"{self.path}: the metadata field {name!r} is a list of lists, which is not read")
        if kind == "text":
            return self._texts(count)
        layout = _LAYOUTS[kind]
        start = self._forward(count * layout.itemsize, f"the {count} numbers of {name!r}")
        if kind == "bool":
            return [self._truth(byte) for byte in self.data[start : self.at]]
        return np.frombuffer(self.data, layout, count, start).tolist()

    def _texts(self, count: int) -> list[str]:
        # A vocabulary has a hundred thousand of them, hence the local names.
        data, at, size = self.data, self.at, len(self.data)
        if count * _LENGTH.size > size - at:
            self._forward(count * _LENGTH.size, f"a list of {count} texts")
        texts = []
        for _ in range(count):
            start = at + _LENGTH.size
            end = start + _LENGTH.unpack_from(data, at)[0] if start <= size else start
            if end > size:
                self.at = at
                self._forward(end - at, "a text")
            try:
                texts.append(data[start:end].decode())
            except UnicodeDecodeError as error:
                raise CheckpointError(f"{self.path}: the text at byte {at} is not UTF-8: {error}") from error
            at = end
        self.at = at
        return texts

    def _truth(self, byte: int) -> bool:
        if byte not in _TRUTH:
            raise CheckpointError(f"{self.path}: a truth value before byte {self.at} is {byte}, neither 0 nor 1")
        return _TRUTH[byte]

    def _forward(self, n_bytes: int, what: str) -> int:
        start, left = self.at, len(self.data) - self.at
        if n_bytes > left:
            raise CheckpointError(
                f"{self.path} is cut off or damaged: {what} at byte {start} needs {n_bytes} bytes, and {max(left, 0)} "
                "are left"
            )
        self.at = start + n_bytes
        return start
