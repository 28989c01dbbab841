"""SHA-256 digests of what a result came from: weights, tokens, metrics."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
import xxhash
from jaxtyping import Shaped
from torch import Tensor

_weights: WeakKeyDictionary[Any, tuple[tuple[str, ...], str]] = WeakKeyDictionary()


def tensor_digest(tensor: Shaped[Tensor, "..."]) -> str:
    """The SHA-256 of a tensor's type, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    digest.update(_bytes(tensor))
    return digest.hexdigest()


def weights_digest(model: Any) -> str:
    """The SHA-256 of a model's names, shapes and weights, kept until a bit of them changes."""
    state = model.state_dict()
    # Ten times as fast as SHA-256, and enough to notice a change that nobody makes on purpose to escape it.
    seen = tuple(xxhash.xxh3_128_hexdigest(_bytes(weight)) for weight in state.values())
    if model not in _weights or _weights[model][0] != seen:
        digest = hashlib.sha256()
        for name, weight in sorted(state.items()):
            digest.update(f"{name} {weight.dtype} {list(weight.shape)}".encode())
            digest.update(_bytes(weight))
        _weights[model] = (seen, digest.hexdigest())
    return _weights[model][1]


def described(value: object) -> Any:
    """A value as JSON can hold it: tensors by their digest, objects by their fields, functions by their code."""
    match value:
        case Tensor():
            return tensor_digest(value)
        case str() | int() | float() | bool() | None:
            return value
        case torch.dtype() | torch.device() | Path():
            return str(value)
        case Mapping():
            return {str(key): described(item) for key, item in value.items()}
        case list() | tuple():
            return [described(item) for item in value]
        case FunctionType():
            return _function(value)
        case CodeType():
            return hashlib.sha256(value.co_code).hexdigest(), described(value.co_consts), list(value.co_names)
        case _ if is_dataclass(value) or hasattr(value, "__dict__"):
            # Of a dataclass the fields, of any other object what it holds.
            names = [field.name for field in fields(value)] if is_dataclass(value) else sorted(vars(value))
            kind = {"kind": type(value).__qualname__}
            return kind | {name: described(getattr(value, name)) for name in names if not name.startswith("_")}
        case _:
            return repr(value)


def _function(function: FunctionType) -> dict[str, Any]:
    cells = function.__closure__ or ()
    return {
        "function": function.__qualname__,
        "code": described(function.__code__),
        "defaults": described(function.__defaults__),
        "closure": [described(cell.cell_contents) for cell in cells],
    }


def _bytes(tensor: Tensor) -> Any:
    return _flat(tensor.cpu()).view(torch.uint8).numpy().data


def _flat(tensor: Tensor) -> Shaped[Tensor, " number"]:
    # A single number counts as contiguous whatever its stride, and cannot be viewed as bytes.
    flat = tensor.detach().contiguous().flatten()
    return flat if flat.stride(0) == 1 else flat.clone(memory_format=torch.contiguous_format)
