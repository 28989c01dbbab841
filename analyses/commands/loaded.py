"""A model, loaded by a command."""

from typing import Any

import torch

from ..model_source import ModelSource
from ..transformers_model import arguments_for
from .progress import doing

_SMALL = 20_000_000
"""Parameters below which one thread was faster than two: the threads wait for one another longer than they work."""


def _load(source: ModelSource) -> Any:
    from models.errors import CheckpointError  # imports torch

    try:
        return source.load()
    except CheckpointError as error:
        if "TransformerBridge" not in str(error) or arguments_for(source.path) is None:
            raise
        raise CheckpointError(f"{error}. `interp check` and `interp sweep` run it as it is with --bridge") from error


def loaded(source: ModelSource) -> Any:
    """The model as it was saved; PyTorch is left one thread where more would only wait.

    Raises:
        models.errors.CheckpointError: a file that is damaged, or not a model's.
    """
    with doing(f"loading {source.name}"):
        model = _load(source)
    if sum(parameter.numel() for parameter in model.parameters()) < _SMALL:
        torch.set_num_threads(1)
    return model
