"""The metadata of a GGUF file's architecture, each field read once, checked, and none left unread."""

import math
from typing import Any

from ..errors import CheckpointError
from .gguf_file import GgufFile

# Values with which a field changes nothing; a field that no value of changes anything has None.
_HARMLESS: dict[str, tuple[Any, ...] | None] = {
    "attention.causal": (True,),
    "attention.max_alibi_bias": (0.0,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "logit_scale": (1.0,),
    "rope.scaling.finetuned": None,
    "rope.scaling.original_context_length": None,
    "tensor_data_layout": None,
    "vocab_size": None,
}


class Metadata:
    """The fields whose names begin with the architecture's, without that beginning."""

    def __init__(self, file: GgufFile) -> None:
        self._path = file.path
        self._prefix = f"{file.fields['general.architecture']}."
        self._fields = {
            name.removeprefix(self._prefix): value
            for name, value in file.fields.items()
            if name.startswith(self._prefix)
        }
        self._unread = set(self._fields)

    def get(self, name: str) -> Any:
        """The field as it stands there, or None."""
        self._unread.discard(name)
        return self._fields.get(name)

    def size(self, name: str, default: int | None = None) -> int:
        """A whole number above zero.

        Raises:
            CheckpointError: it is missing and has no default, or is something else.
        """
        value = self._given(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"{self._path} has {self._prefix}{name}={_shown(value)}; expected a positive integer")
        return value

    def positive(self, name: str, default: float | None = None) -> float:
        """A number above zero, or the default.

        Raises:
            CheckpointError: it is missing and has no default, or is something else.
        """
        value = self._given(name, default)
        if name not in self._fields:
            return value
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise CheckpointError(f"{self._path} has {self._prefix}{name}={_shown(value)}; expected a positive number")
        return float(value)

    def truth(self, name: str, default: bool) -> bool:
        """A truth value.

        Raises:
            CheckpointError: it is something else.
        """
        value = self._given(name, default)
        if not isinstance(value, bool):
            raise CheckpointError(f"{self._path} has {self._prefix}{name}={_shown(value)}; expected true or false")
        return value

    def require(self, name: str, only: Any) -> None:
        """Nothing, if the field is missing or has the one value that models here have.

        Raises:
            CheckpointError: another value.
        """
        value = self._given(name, only)
        if value != only:
            raise CheckpointError(
                f"{self._path} has {self._prefix}{name}={_shown(value)}; models of this type are built with {only!r}"
            )

    def require_all_read(self) -> None:
        """Nothing, if every field was read or changes nothing.

        Raises:
            CheckpointError: a field that may change what the model computes, by name.
        """
        for name in sorted(self._unread):
            values = _HARMLESS.get(name, ())
            if values is not None and self._fields[name] not in values:
                raise self.refused(name, self._fields[name])

    def refused(self, name: str, value: Any) -> CheckpointError:
        """What is said of a field with a value that we do not build."""
        return CheckpointError(
            f"{self._path} has {self._prefix}{name}={_shown(value)}, which is not read here. Load the model's Hugging "
            "Face folder as transformer_lens' TransformerBridge, which interp runs with engine='hooks'"
        )

    def _given(self, name: str, default: Any) -> Any:
        value = self.get(name)
        if value is None and default is None:
            raise CheckpointError(f"{self._path} lacks the metadata field {self._prefix}{name}")
        return default if value is None else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
