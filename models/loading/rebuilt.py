"""A model from its config and its state dict, both in our own terms."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..config import HookedTransformerConfig
from ..errors import CheckpointError
from ..hooked import HookedModel
from .assembled import assemble, weightless
from .saved import Saved
from .state import accepted

Model = TypeVar("Model", bound=HookedModel)


def rebuilt(
    saved: Saved,
    build: Callable[[HookedTransformerConfig], Model],
    origin: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Model:
    """The model that was saved, in evaluation mode. The state dict is emptied on the way.

    Args:
        origin: the file that the weights were read from, for messages.
        dtype: default: the config's.
        device: default: the GPU if there is one.

    Raises:
        CheckpointError: weights that are missing, left over, of other shapes or not finite.
        ConfigError: a device that is not there.
    """
    # Built in the dtype asked for, not converted afterwards: rotary angles are then exact in that dtype.
    config = replace(saved.config, device=None if device is None else str(device), dtype=dtype or saved.config.dtype)
    model = weightless(build, config)
    try:
        state = accepted(model, saved.state)
    except CheckpointError as error:
        raise CheckpointError(f"{origin}: {error}") from error
    saved.state.clear()
    assemble(model, state, config)
    restored: Any = model
    if saved.tokenizer is not None:
        restored.tokenizer = saved.tokenizer
    restored.end_tokens = saved.end_tokens
    restored.cfg = replace(restored.cfg, init_weights=saved.config.init_weights)
    return model.eval()
