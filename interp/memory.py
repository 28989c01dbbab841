"""How much memory there is, and whether what a sweep keeps of its two runs fits."""

from collections.abc import Collection
from math import prod
from typing import Any

import psutil
import torch
from jaxtyping import Int
from torch import Tensor, nn

from .errors import MemoryBudgetError
from .sites import site

FREE_SHARE = 0.5
"""Of the memory that is free, the share that a sweep takes where no budget is given."""


def free_bytes(device: torch.device) -> int:
    """The memory that is free on the device now."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def allowed_bytes(max_memory: int | None, device: torch.device) -> int:
    """The memory that a sweep may take: what it is given, or its share of what is free."""
    return int(FREE_SHARE * free_bytes(device)) if max_memory is None else max_memory


def require_room_for_runs(
    model: Any,
    tokens: Int[Tensor, "prompt pos"],
    points: Collection[str],
    base_only: Collection[str],
    max_memory: int | None,
) -> None:
    """Nothing, if the activations of two runs on these prompts fit; told before either is made.

    Args:
        tokens: the prompts of one of the runs.
        points: hook names whose activations are kept of both.
        base_only: hook names whose activations are kept of one.

    Raises:
        MemoryBudgetError: they do not; the message has both numbers.
    """
    # A model of the protocol need not be a module, and then nobody knows what its numbers take.
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if weight is None:
        return
    n_prompts, length = tokens.shape
    names = {*points, *base_only}
    # Both runs are one batch: until it is done, everything is there of both.
    numbers = 2 * sum(_numbers(model, name, n_prompts, length) for name in names)
    numbers += 2 * tokens.numel() * max(getattr(model.cfg, "d_vocab", 0), getattr(model.cfg, "d_vocab_out", 0))
    needed, allowed = numbers * weight.element_size(), allowed_bytes(max_memory, weight.device)
    if needed > allowed:
        raise MemoryBudgetError(
            f"two runs of {n_prompts} prompts of {length} tokens, of which {len(names)} points are kept, take "
            f"{needed:,} bytes, and a sweep may take {allowed:,}; give fewer prompts at once or fewer layers, or raise "
            "max_memory"
        )


def _numbers(model: Any, name: str, n_prompts: int, length: int) -> int:
    found = site(model, name)
    run = {"batch": n_prompts, "pos": length, "query": length, "key": length}
    sizes = [size or run.get(axis, 1) for axis, size in zip(found.axes, found.sizes, strict=True)]
    return prod(sizes)
