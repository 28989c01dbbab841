"""The methods of a model that bring weights in, checked."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from .config import HookedTransformerConfig
from .errors import CheckpointError
from .loading.saved import WEIGHTS, read
from .loading.state import accepted

Model = TypeVar("Model", bound="Pretrained")


class Pretrained(nn.Module):
    """Loading for a `HookedTransformer`; TransformerLens' names, and nothing loads halfway."""

    cfg: HookedTransformerConfig
    tokenizer: Any

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """The weights in place. State dicts saved by TransformerLens 3.9 and earlier load unchanged.

        See `models.loading.state.accepted` for what is left out of them.

        Raises:
            CheckpointError: names missing or unexpected (both lists), wrong shapes, numbers that are not finite.
        """
        return super().load_state_dict(accepted(self, state_dict, strict), strict=strict, assign=assign)

    @classmethod
    def from_folder(
        cls: type[Model], folder: str | Path, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Model:
        """The model that `models.loading.folder.save` wrote, as it was saved.

        Raises:
            CheckpointError: files that are missing, changed, truncated, of another format or not this model's.
        """
        saved = read(folder)
        # Built in the dtype asked for, not converted afterwards: rotary angles are then exact in that dtype.
        config = replace(
            saved.config,
            device=None if device is None else str(device),
            dtype=dtype or saved.config.dtype,
            init_weights=False,
        )
        model = cls(config)
        try:
            model.load_state_dict(saved.state)
        except CheckpointError as error:
            raise CheckpointError(f"{Path(folder) / WEIGHTS}: {error}") from error
        model.tokenizer = saved.tokenizer
        model.cfg = replace(model.cfg, init_weights=saved.config.init_weights)
        return model
