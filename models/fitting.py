"""The trainer: AdamW, linear warm-up, half a cosine down, clipped gradients; the same seed gives the same weights.

A run keeps `checkpoint.pt` in its folder; started again after a kill it continues from there, bit for bit as if it
had not been stopped, because every batch is a function of the seed and the step.
"""

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from .batches import seeded
from .errors import TrainingError
from .evaluation import Estimate
from .initialisation import initialise
from .recipes import Recipe
from .training_data import TrainingData
from .transformer import HookedTransformer

CHECKPOINT = "checkpoint.pt"
"""The name of a running training's file in its folder."""


@dataclass(frozen=True)
class CurvePoint:
    """Where a run stood after `step` steps. Losses in nats for each token; errors as in `models.evaluation`.

    `train_loss` is the mean over the steps since the last point.
    """

    step: int
    train_loss: float
    train_standard_error: float
    held_out_loss: float
    held_out_standard_error: float
    gradient_norm: float


@dataclass(frozen=True)
class Progress:
    """What a callback is told after every step; `point` is there when the held-out loss was measured."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    point: CurvePoint | None


DataT = TypeVar("DataT", bound=TrainingData)


@dataclass(frozen=True)
class Trained(Generic[DataT]):
    """A finished run: the model, what it was trained on, and how it got there."""

    model: HookedTransformer
    data: DataT
    curve: tuple[CurvePoint, ...]


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of that step, counted from 0: up linearly to the peak at the end of the warm-up, down by half a cosine.

    The last step's rate is `final_learning_rate` exactly. Source: Loshchilov and Hutter (2017), equation 5.
    """
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - 1 - recipe.warm_up)
    span = recipe.learning_rate - recipe.final_learning_rate
    return recipe.final_learning_rate + span * (1 + math.cos(math.pi * done)) / 2


def fit(
    recipe: Recipe, data: DataT, folder: Path, progress: Callable[[Progress], None] | None = None
) -> Trained[DataT]:
    """The model that the recipe makes of the data. Checkpoints go to `folder`, and a run begun there goes on.

    Raises:
        TrainingError: the loss or a gradient is not finite, or the folder's checkpoint is of another run.
    """
    model = HookedTransformer(replace(recipe.architecture, seed=recipe.seed))
    initialise(model, recipe.scheme, seeded(recipe.seed, "init"), recipe.embedding_std)
    run = _Run(recipe, data.sha256, folder, model, _optimizer(model, recipe))
    run.resume()
    for step in range(run.done, recipe.steps):
        rate = learning_rate(recipe, step)
        loss = run.step(partial(data.loss, model, data.batch(step)), rate)
        point = None
        if run.done % recipe.evaluate_every == 0 or run.done == recipe.steps:
            point = run.measure(data.held_out_sample(model))
        if run.done % recipe.checkpoint_every == 0 or run.done == recipe.steps:
            run.save()
        if progress is not None:
            progress(Progress(run.done, recipe.steps, loss, rate, point))
    return Trained(model, data, tuple(run.curve))


def _optimizer(model: HookedTransformer, recipe: Recipe) -> torch.optim.AdamW:
    # Decay pulls matrices towards small products; on a bias or a norm's weight it would only shift the function.
    named = list(model.named_parameters())
    matrices = [parameter for name, parameter in named if name.rpartition(".")[2].startswith("W_")]
    others = [parameter for name, parameter in named if not name.rpartition(".")[2].startswith("W_")]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)


@dataclass
class _Run:
    """The state of a run between two steps: all of it is in the checkpoint."""

    recipe: Recipe
    data_sha256: str
    folder: Path
    model: HookedTransformer
    optimizer: torch.optim.AdamW

    def __post_init__(self) -> None:
        self.done = 0
        self.curve: list[CurvePoint] = []
        self.recent: list[float] = []
        self.gradient_norm = math.nan

    def step(self, loss_now: Callable[[], torch.Tensor], rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = loss_now()
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        value, self.gradient_norm = float(loss.detach()), float(norm)
        if not (math.isfinite(value) and math.isfinite(self.gradient_norm)):
            raise TrainingError(
                f"step {self.done + 1} of {self.recipe.steps}: the loss is {value} and the gradient's norm "
                f"{self.gradient_norm}; the weights are those of step {self.done}. A lower learning rate than "
                f"{self.recipe.learning_rate:g} or a longer warm-up may help"
            )
        self.optimizer.step()
        self.done += 1
        self.recent.append(value)
        return value

    def measure(self, held_out: Estimate) -> CurvePoint:
        losses = torch.tensor(self.recent, dtype=torch.float64)
        error = float(losses.std() / math.sqrt(len(losses))) if len(losses) > 1 else math.nan
        point = CurvePoint(
            self.done, float(losses.mean()), error, held_out.mean, held_out.standard_error, self.gradient_norm
        )
        self.curve.append(point)
        self.recent = []
        return point

    def save(self) -> None:
        state = {
            "recipe": self.recipe.to_dict(),
            "data_sha256": self.data_sha256,
            "done": self.done,
            "curve": [asdict(point) for point in self.curve],
            "recent": self.recent,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        # Written beside and renamed, so that a kill in the middle leaves the previous checkpoint whole.
        unfinished = self._path.with_suffix(".partial")
        torch.save(state, unfinished)
        os.replace(unfinished, self._path)

    def resume(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            return
        state: dict[str, Any] = torch.load(self._path, weights_only=True)
        if state["recipe"] != self.recipe.to_dict() or state["data_sha256"] != self.data_sha256:
            raise TrainingError(f"{self._path} belongs to another recipe or other data; remove it, or train elsewhere")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.recent = state["done"], list(state["recent"])
        self.curve = [CurvePoint(**point) for point in state["curve"]]

    @property
    def _path(self) -> Path:
        return self.folder / CHECKPOINT
