"""How a model is trained, as data. A recipe, a seed and a corpus give the same weights on the same machine."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from .config import HookedTransformerConfig
from .errors import ConfigError
from .initialisation import Scheme
from .one_head import one_head

Task = Literal["text", "modular-addition"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a training run.

    `task` says what is trained on: "text" is the Python standard library (`models.corpus`), with `repeated_rows` of
    each batch given to repeated random tokens (`models.repeated_rows`), and all of it in the first
    `repeats_only_steps`; "modular-addition" is a table of sums
    (`models.addition`), with the share `train_share` of it to learn from.
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
    task: Task = "text"
    repeated_rows: int = 0
    repeats_only_steps: int = 0
    train_share: float | None = None
    scheme: Scheme = "gpt2"
    embedding_std: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every", "checkpoint_every", "learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name}={getattr(self, name)} must be positive and finite")
        if not 0 <= self.warm_up < self.steps:
            raise ConfigError(f"warm_up={self.warm_up} must be at least 0 and below steps={self.steps}")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ConfigError(f"final_learning_rate={self.final_learning_rate} must be from 0 to learning_rate")
        if not 0 <= self.repeated_rows < self.batch:
            raise ConfigError(f"repeated_rows={self.repeated_rows} must be at least 0 and below batch={self.batch}")
        if not 0 <= self.repeats_only_steps < self.steps:
            raise ConfigError(f"repeats_only_steps={self.repeats_only_steps} must be at least 0 and below steps")
        if (self.task == "modular-addition") != (self.train_share is not None):
            raise ConfigError(f"train_share={self.train_share} does not go with the task {self.task!r}")
        if self.task == "modular-addition" and self.reads_repeats:
            raise ConfigError(
                "a table of sums has no rows of repeated tokens; repeated_rows and repeats_only_steps are 0"
            )
        if self.train_share is not None and not 0 < self.train_share < 1:
            raise ConfigError(f"train_share={self.train_share} must be between 0 and 1: the rest is held out")

    @property
    def reads_repeats(self) -> bool:
        """Whether any row is of repeated random tokens."""
        return self.repeated_rows > 0 or self.repeats_only_steps > 0

    @property
    def n_tokens(self) -> int:
        """Tokens predicted in the whole run, repeats included."""
        return self.steps * self.batch * (self.architecture.n_ctx - 1)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON can hold it."""
        architecture = {**self.architecture.to_dict(), "dtype": str(self.architecture.dtype).removeprefix("torch.")}
        return {**asdict(self), "architecture": architecture, "betas": list(self.betas)}


def _named(recipe: Recipe) -> Recipe:
    return replace(recipe, architecture=replace(recipe.architecture, model_name=recipe.name))


_ON_TEXT: dict[str, Any] = {"task": "text", "weight_decay": 0.01, "betas": (0.9, 0.98), "clip": 1.0, "seed": 0}
_ROTARY_128: dict[str, Any] = {
    "d_model": 128,
    "d_head": 32,
    "n_ctx": 128,
    "d_vocab": 1024,
    "normalization_type": "LN",
    "positional_embedding_type": "rotary",
    "rotary_dim": 32,
    "dtype": torch.float32,
    "device": "cpu",
    "seed": 0,
}

_ALL = (
    Recipe(
        name="stdlib-1h",
        architecture=one_head(128, n_ctx=64, d_vocab=1024, dtype=torch.float32, device="cpu", seed=0),
        steps=3000,
        batch=32,
        learning_rate=3e-3,
        final_learning_rate=1.5e-4,
        warm_up=100,
        evaluate_every=250,
        checkpoint_every=250,
        **_ON_TEXT,
    ),
    Recipe(
        name="stdlib-2l",
        architecture=HookedTransformerConfig(n_layers=2, n_heads=4, attn_only=True, **_ROTARY_128),
        steps=6000,
        batch=16,
        learning_rate=1e-3,
        final_learning_rate=1e-4,
        warm_up=100,
        evaluate_every=250,
        checkpoint_every=250,
        repeated_rows=4,
        repeats_only_steps=1400,
        **_ON_TEXT,
    ),
    Recipe(
        name="stdlib-4l",
        architecture=HookedTransformerConfig(n_layers=4, n_heads=4, d_mlp=512, act_fn="gelu", **_ROTARY_128),
        steps=5000,
        batch=16,
        learning_rate=1.5e-3,
        final_learning_rate=1e-4,
        warm_up=100,
        evaluate_every=250,
        checkpoint_every=250,
        repeated_rows=4,
        **_ON_TEXT,
    ),
    Recipe(
        name="modular-addition",
        architecture=HookedTransformerConfig(
            n_layers=1,
            n_heads=4,
            d_model=128,
            d_head=32,
            d_mlp=512,
            n_ctx=4,
            d_vocab=114,
            act_fn="relu",
            normalization_type=None,
            default_prepend_bos=False,
            dtype=torch.float32,
            device="cpu",
            seed=0,
        ),
        steps=5000,
        batch=1024,
        learning_rate=1e-3,
        final_learning_rate=3e-4,
        warm_up=10,
        weight_decay=1.0,
        betas=(0.9, 0.98),
        clip=10.0,
        seed=0,
        evaluate_every=100,
        checkpoint_every=250,
        task="modular-addition",
        train_share=0.5,
        scheme="xavier",
        embedding_std=128**-0.5,
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: _named(recipe) for recipe in _ALL}
"""The models that this package can train, by name."""
