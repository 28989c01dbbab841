"""A model, loaded by a command."""

from typing import Any

import torch

from ..model_source import ModelSource
from .progress import doing

_SMALL = 20_000_000
"""Parameters below which one thread was faster than two: the threads wait for one another longer than they work."""


def loaded(source: ModelSource) -> Any:
    """The model as it was saved; PyTorch is left one thread where more would only wait.

    Raises:
        models.errors.CheckpointError: a file that is damaged, or not a model's.
    """
    with doing(f"loading {source.name}"):
        model = source.load()
    if sum(parameter.numel() for parameter in model.parameters()) < _SMALL:
        torch.set_num_threads(1)
    return model
