"""The configuration under TransformerLens 3.9's constructor and methods."""

import random
from typing import Any

import numpy as np
import torch

from ..config import HookedTransformerConfig as OurConfig


class HookedTransformerConfig(OurConfig):
    """Our config, which also takes those of TransformerLens' fields that we do not build, if they are off.

    It stays frozen, and making one seeds nothing: `docs/compat.md` says what to write in place of an assignment.

    Raises:
        ConfigError: a name that is not known, or a value that asks for what is not supported.
    """

    def __init__(self, **fields: Any) -> None:
        if isinstance(fields.get("device"), torch.device):
            fields["device"] = str(fields["device"])
        super().__init__(**OurConfig.from_dict(fields).to_dict())

    @classmethod
    def unwrap(cls, config: dict[str, Any] | OurConfig) -> OurConfig:
        """The config itself, or the one that a dictionary describes."""
        return cls(**config) if isinstance(config, dict) else config

    def set_seed_everywhere(self, seed: int) -> None:
        """Python's, NumPy's and PyTorch's global generators, seeded."""
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
