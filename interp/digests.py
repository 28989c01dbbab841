"""SHA-256 digests of what a result came from: weights, tokens, metrics."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Shaped
from torch import Tensor

_weights: WeakKeyDictionary[Any, tuple[tuple[tuple[int, int], ...], str]] = WeakKeyDictionary()


def tensor_digest(tensor: Shaped[Tensor, "..."]) -> str:
    """The SHA-256 of a tensor's type, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    digest.update(_bytes(tensor))
    return digest.hexdigest()


def weights_digest(model: Any) -> str:
    """The SHA-256 of a model's names, shapes and weights, kept until one of them is written to."""
    state = model.state_dict()
    version = tuple((weight.data_ptr(), weight._version) for weight in state.values())
    if model not in _weights or _weights[model][0] != version:
        digest = hashlib.sha256()
        for name, weight in sorted(state.items()):
            digest.update(f"{name} {weight.dtype} {list(weight.shape)}".encode())
            digest.update(_bytes(weight))
        _weights[model] = (version, digest.hexdigest())
    return _weights[model][1]


def described(value: object) -> Any:
    """A value as JSON can hold it: tensors by their digest, dataclasses by their fields, functions by their name."""
    match value:
        case Tensor():
            return tensor_digest(value)
        case str() | int() | float() | bool() | None:
            return value
        case Mapping():
            return {str(key): described(item) for key, item in value.items()}
        case list() | tuple():
            return [described(item) for item in value]
        case _ if is_dataclass(value):
            kind = {"kind": type(value).__qualname__}
            return kind | {field.name: described(getattr(value, field.name)) for field in fields(value)}
        case _:
            return getattr(value, "__qualname__", repr(value))


def _bytes(tensor: Tensor) -> Any:
    whole = tensor.detach().cpu().contiguous()
    # A tensor of one number counts as contiguous whatever its stride, and bytes need a stride of one.
    return whole.as_strided((whole.numel(),), (1,)).view(torch.uint8).numpy().data
