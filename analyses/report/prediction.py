"""How well a model predicts the tokens it was run on, beside what guessing would cost."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.statistics import over_prompts
from models.loss import next_token_loss

from ..model_source import ModelSource
from ..scored_positions import scored_positions


@dataclass(frozen=True)
class Prediction:
    """The loss in nats per token and what it stands beside.

    Attributes:
        loss: the mean over prompts.
        low: the lower end of its 95 % interval over prompts; NaN for a single prompt.
        high: its upper end.
        n_prompts: how many prompts there are.
        at: the positions whose prediction counts, if the model was trained on only some of them.
        d_vocab: how many tokens it chooses from, so that guessing evenly costs its logarithm.
        frequencies: what knowing only each token's frequency costs, if the model's card says so.
        held_out: what the card says of all held-out text: the mean and its standard error.
        sees_the_answer: whether attention looks ahead, so that a next-token loss says nothing.
    """

    loss: float
    low: float
    high: float
    n_prompts: int
    at: tuple[int, ...]
    d_vocab: int
    frequencies: float | None
    held_out: tuple[float, float] | None
    sees_the_answer: bool

    @property
    def chance(self) -> float:
        """What guessing evenly costs."""
        return math.log(self.d_vocab)


def prediction(model: Any, source: ModelSource, tokens: Int[Tensor, "batch pos"]) -> Prediction:
    """The model's loss on the tokens, at the positions it was trained to predict."""
    with torch.no_grad():
        losses = next_token_loss(model(tokens).double(), tokens, per_token=True)
    scored = scored_positions(losses, model.cfg.d_vocab)
    loss = over_prompts(losses[:, scored].mean(dim=1))
    says = source.card()
    held_out = says.get("held_out", {}).get("nats_per_token")
    return Prediction(
        loss=float(loss.mean),
        low=float(loss.low),
        high=float(loss.high),
        n_prompts=tokens.shape[0],
        at=() if scored.all() else tuple(scored.nonzero().flatten().tolist()),
        d_vocab=model.cfg.d_vocab_out,
        frequencies=says.get("baselines", {}).get("unigram_entropy"),
        held_out=(held_out["mean"], held_out["standard_error"]) if held_out else None,
        sees_the_answer=model.cfg.attention_dir == "bidirectional",
    )
