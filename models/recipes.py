"""How a model is trained, as data. A recipe, a seed and a corpus give the same weights on the same machine."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .config import HookedTransformerConfig
from .errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a training run.

    The learning rate rises linearly to `learning_rate` over `warm_up` steps and falls as half a cosine to
    `final_learning_rate` at the last step. Weight decay acts on matrices only, not on biases or norms. Gradients are
    clipped to the global norm `clip`. The dtype and all sizes are the architecture's.

    Raises:
        ConfigError: a number that no run can use.
    """

    name: str
    architecture: HookedTransformerConfig
    steps: int
    batch: int
    learning_rate: float
    final_learning_rate: float
    warm_up: int
    weight_decay: float
    betas: tuple[float, float]
    clip: float
    seed: int
    evaluate_every: int
    checkpoint_every: int

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every", "checkpoint_every", "learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name}={getattr(self, name)} must be positive and finite")
        if not 0 <= self.warm_up < self.steps:
            raise ConfigError(f"warm_up={self.warm_up} must be at least 0 and below steps={self.steps}")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ConfigError(f"final_learning_rate={self.final_learning_rate} must be from 0 to learning_rate")

    @property
    def n_tokens(self) -> int:
        """Tokens predicted in the whole run, repeats included."""
        return self.steps * self.batch * (self.architecture.n_ctx - 1)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON can hold it."""
        architecture = {**self.architecture.to_dict(), "dtype": str(self.architecture.dtype).removeprefix("torch.")}
        return {**asdict(self), "architecture": architecture, "betas": list(self.betas)}


RECIPES: dict[str, Recipe] = {
    "stdlib-4l": Recipe(
        name="stdlib-4l",
        architecture=HookedTransformerConfig(
            n_layers=4,
            n_heads=4,
            d_model=128,
            d_head=32,
            d_mlp=512,
            n_ctx=256,
            d_vocab=2048,
            act_fn="gelu",
            normalization_type="LN",
            dtype=torch.float32,
            device="cpu",
            seed=0,
            model_name="stdlib-4l",
        ),
        steps=5000,
        batch=8,
        learning_rate=3e-3,
        final_learning_rate=1.5e-4,
        warm_up=200,
        weight_decay=0.1,
        betas=(0.9, 0.98),
        clip=1.0,
        seed=0,
        evaluate_every=250,
        checkpoint_every=250,
    ),
}
"""The models that this package can train, by name."""
