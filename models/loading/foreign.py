"""Checkpoints that other programs wrote, as models, weights as they are: nothing is folded or centred."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from ..config import HookedTransformerConfig
from ..transformer import HookedTransformer
from .converted import converted
from .llama2c import read_llama2c
from .nanogpt import read_nanogpt
from .rebuilt import rebuilt
from .tl_checkpoint import read_tl_checkpoint


def load_nanogpt(
    path: str | Path,
    tokenizer: Any = None,
    act_fn: Literal["gelu", "gelu_new"] | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> HookedTransformer:
    """The model in a `ckpt.pt` of nanoGPT; see `read_nanogpt`.

    Raises:
        CheckpointError: as `read_nanogpt`, or weights that are missing, left over or not finite.
    """
    return converted(read_nanogpt(path, tokenizer, act_fn), HookedTransformer, dtype=dtype, device=device)


def load_llama2c(
    path: str | Path,
    tokenizer_path: str | Path | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> HookedTransformer:
    """The model in a `.bin` of llama2.c, with its `tokenizer.bin` if that is given; see `read_llama2c`.

    Raises:
        CheckpointError: as `read_llama2c`, or weights that are not finite.
    """
    return converted(read_llama2c(path, tokenizer_path), HookedTransformer, dtype=dtype, device=device)


def load_tl_checkpoint(
    path: str | Path,
    config: HookedTransformerConfig | Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> HookedTransformer:
    """The model whose state dict TransformerLens saved; see `read_tl_checkpoint`.

    Raises:
        CheckpointError: as `read_tl_checkpoint`, or weights that are missing, left over or not finite.
    """
    saved = read_tl_checkpoint(path, config)
    saved = replace(saved, config=replace(saved.config, init_weights=False))
    build = partial(HookedTransformer, tokenizer=tokenizer)
    return rebuilt(saved, build, path, dtype=dtype, device=device)
