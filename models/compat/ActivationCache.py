"""The cache of a run, TransformerLens' own: `from models.compat.ActivationCache import ActivationCache`."""

from typing import Any

import torch
import transformer_lens


class ActivationCache(transformer_lens.ActivationCache):
    """TransformerLens 4's cache, with what older ones could be asked for besides."""

    def to(self, device: str | torch.device, move_model: bool = False) -> "ActivationCache":
        """The cache itself, its activations on that device now; with `move_model` its model too."""
        if move_model:
            model: Any = self.model
            model.to(device)
        super().to(device)
        return self
