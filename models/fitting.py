"""The trainer: AdamW, linear warm-up, half a cosine down, clipped gradients; the same seed gives the same weights.

A run keeps `checkpoint.pt` in its folder; started again after a kill it continues from there, bit for bit as if it
had not been stopped, because every batch is a function of the seed and the step (`models.batches`).
"""

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from .batches import HeldOutWindows, TrainingWindows, seeded, token_stream
from .corpus import Corpus
from .errors import CorpusError, TrainingError
from .evaluation import HeldOutLoss, held_out_loss
from .initialisation import initialise
from .recipes import Recipe
from .tokenizer import end_of_text, train_tokenizer
from .transformer import HookedTransformer

CHECKPOINT = "checkpoint.pt"
"""The name of a running training's file in its folder."""

_CURVE_WINDOWS = 64
"""Held-out windows that a point of the curve is measured on; the end result is measured on all of them."""


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


@dataclass(frozen=True)
class Trained:
    """A finished run: the model, its tokenizer, and what was measured."""

    model: HookedTransformer
    tokenizer: Tokenizer
    corpus: Corpus
    curve: tuple[CurvePoint, ...]
    held_out: HeldOutLoss
    windows: HeldOutWindows


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of that step, counted from 0: up linearly to the peak at the end of the warm-up, down by half a cosine.

    The last step's rate is `final_learning_rate` exactly. Source: Loshchilov and Hutter (2017), equation 5.
    """
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - 1 - recipe.warm_up)
    span = recipe.learning_rate - recipe.final_learning_rate
    return recipe.final_learning_rate + span * (1 + math.cos(math.pi * done)) / 2


def fit(recipe: Recipe, corpus: Corpus, folder: Path, progress: Callable[[Progress], None] | None = None) -> Trained:
    """The model that the recipe makes of the corpus. Checkpoints go to `folder`, and a run begun there goes on.

    Raises:
        TrainingError: the loss or a gradient is not finite, or the folder's checkpoint is of another run.
        CorpusError: too little text to train on, or too little to measure on.
    """
    if len(corpus.held_out) < 2:
        raise CorpusError(f"{len(corpus.held_out)} held-out documents: a standard error needs two or more")
    config = recipe.architecture
    tokenizer = train_tokenizer((document.text for document in corpus.train), config.d_vocab)
    stream = token_stream(tokenizer, corpus.train)
    batches = TrainingWindows(stream, config.n_ctx, recipe.batch, recipe.seed, end_of_text(tokenizer))
    windows = HeldOutWindows.cut(tokenizer, corpus.held_out, config.n_ctx)
    sample = windows.every(max(1, len(windows.tokens) // _CURVE_WINDOWS))
    model = HookedTransformer(replace(config, seed=recipe.seed))
    initialise(model, "gpt2", seeded(recipe.seed, "init"))
    run = _Run(recipe, corpus.sha256, folder, model, _optimizer(model, recipe))
    run.resume()
    for step in range(run.done, recipe.steps):
        rate = learning_rate(recipe, step)
        loss = run.step(batches[step], rate)
        point = None
        if run.done % recipe.evaluate_every == 0 or run.done == recipe.steps:
            point = run.measure(sample)
        if run.done % recipe.checkpoint_every == 0 or run.done == recipe.steps:
            run.save()
        if progress is not None:
            progress(Progress(run.done, recipe.steps, loss, rate, point))
    return Trained(model, tokenizer, corpus, tuple(run.curve), held_out_loss(model, windows), windows)


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
    corpus_sha256: str
    folder: Path
    model: HookedTransformer
    optimizer: torch.optim.AdamW

    def __post_init__(self) -> None:
        self.done = 0
        self.curve: list[CurvePoint] = []
        self.recent: list[float] = []
        self.gradient_norm = math.nan

    def step(self, tokens: torch.Tensor, rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.model(tokens, return_type="loss")
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

    def measure(self, sample: HeldOutWindows) -> CurvePoint:
        losses = torch.tensor(self.recent, dtype=torch.float64)
        error = float(losses.std() / math.sqrt(len(losses))) if len(losses) > 1 else math.nan
        estimate = held_out_loss(self.model, sample).nats_per_token
        point = CurvePoint(
            self.done, float(losses.mean()), error, estimate.mean, estimate.standard_error, self.gradient_norm
        )
        self.curve.append(point)
        self.recent = []
        return point

    def save(self) -> None:
        state = {
            "recipe": self.recipe.to_dict(),
            "corpus_sha256": self.corpus_sha256,
            "done": self.done,
            "curve": [asdict(point) for point in self.curve],
            "recent": self.recent,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        # Written beside and renamed, so that a kill in the middle leaves the previous checkpoint whole.
        partial = self._path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self._path)

    def resume(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            return
        state: dict[str, Any] = torch.load(self._path, weights_only=True)
        if state["recipe"] != self.recipe.to_dict() or state["corpus_sha256"] != self.corpus_sha256:
            raise TrainingError(f"{self._path} belongs to another recipe or corpus; remove it, or train elsewhere")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.recent = state["done"], list(state["recent"])
        self.curve = [CurvePoint(**point) for point in state["curve"]]

    @property
    def _path(self) -> Path:
        return self.folder / CHECKPOINT
