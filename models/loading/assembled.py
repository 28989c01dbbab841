"""Models whose parameters are the tensors that were read: built without memory, and nothing held twice."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..config import HookedTransformerConfig
from ..hooked import HookedModel
from ..positions import Rotary
from ..present_device import require_present

Model = TypeVar("Model", bound=HookedModel)

_PER_HEAD = ("W_Q", "W_K", "W_V")


def weightless(build: Callable[[HookedTransformerConfig], Model], config: HookedTransformerConfig) -> Model:
    """The model with names and shapes alone: no number is allocated, let alone drawn.

    Raises:
        ConfigError: the device that the weights are to be put on is not there.
    """
    require_present(str(config.device))
    with torch.device("meta"):
        return build(replace(config, device="meta", init_weights=False))


def assemble(model: HookedModel, state: dict[str, Tensor], config: HookedTransformerConfig) -> None:
    """The weightless model with these tensors as its parameters, in the dtype and on the device of the config.

    Args:
        state: a tensor for each parameter. It is emptied on the way, so that what is converted is held once.
    """
    taken: dict[int, list[tuple[int, int]]] = {}
    placed = {}
    for name in list(state):
        value = state.pop(name).to(config.device, config.dtype)
        placed[name] = _laid_out(name, _apart(value, taken))
        del value
    nn.Module.load_state_dict(model, placed, assign=True)
    _fill_buffers(model, config)
    model.to(config.device)


def _apart(value: Tensor, taken: dict[int, list[tuple[int, int]]]) -> Tensor:
    """The tensor, or a copy where a parameter lies in the same memory: training one must not change the other."""
    if value.is_meta or not value.numel():
        return value
    first = int(value.storage_offset())
    last = first + sum(int(size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True))
    ranges = taken.setdefault(value.untyped_storage().data_ptr(), [])
    if any(first <= end and start <= last for start, end in ranges):
        return value.clone()
    ranges.append((first, last))
    return value


def _laid_out(name: str, value: Tensor) -> Tensor:
    """The same numbers, such that the one large product over all heads reads them where they are."""
    kind = name.rsplit(".", 1)[-1].lstrip("_")
    if kind in _PER_HEAD:
        n_heads, _, d_head = value.shape
        return value.permute(1, 0, 2).flatten(1).unflatten(1, (n_heads, d_head)).permute(1, 0, 2)
    return value.flatten(0, 1).unflatten(0, value.shape[:2]) if kind == "W_O" else value


def _fill_buffers(model: HookedModel, config: HookedTransformerConfig) -> None:
    """Constants that no checkpoint holds: rotary tables, one for all layers that turn alike, and absent biases."""
    tables: dict[bool, Rotary] = {}
    blocks: Any = model.blocks
    for layer, block in enumerate(blocks):
        rotary = block.attn.rotary
        if rotary is not None:
            if rotary.is_local not in tables:
                # Moved before it is shared: moving the model would give each layer a table of its own.
                tables[rotary.is_local] = Rotary(config, layer).to(config.device)
            table = tables[rotary.is_local]
            rotary.cos, rotary.sin = table.cos, table.sin
        for name, buffer in block.attn.named_buffers(recurse=False):
            zeros = torch.zeros(buffer.shape, dtype=config.dtype, device=config.device)
            block.attn.register_buffer(name, zeros, persistent=False)
