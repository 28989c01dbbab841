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
from ..next_token import no_next_token
from ..scored_positions import scored_positions


@dataclass(frozen=True)
class Prediction:
    """The loss in nats per token and what it stands beside.

    Attributes:
        loss: the mean over prompts; NaN, like its interval, for a model that does not predict the next token.
        low: the lower end of its 95 % interval over prompts; NaN for a single prompt.
        high: its upper end.
        n_prompts: how many prompts there are.
        at: the positions whose prediction counts, if the model was trained on only some of them.
        d_vocab: how many tokens it chooses from, so that guessing evenly costs its logarithm.
        frequencies: what knowing only each token's frequency costs, if the model's card says so.
        held_out: what the card says of all held-out text: the mean and its standard error.
        no_loss_because: why the model does not predict the next token; empty if it does.
    """

    loss: float
    low: float
    high: float
    n_prompts: int
    at: tuple[int, ...]
    d_vocab: int
    frequencies: float | None
    held_out: tuple[float, float] | None
    no_loss_because: str

    @property
    def chance(self) -> float:
        """What guessing evenly costs."""
        return math.log(self.d_vocab)


def prediction(model: Any, source: ModelSource, tokens: Int[Tensor, "batch pos"]) -> Prediction:
    """The model's loss on the tokens, at the positions that are scored; or why it has none."""
    reason = no_next_token(model)
    loss, at = ((math.nan,) * 3, ()) if reason else _loss(model, tokens)
    says = source.card()
    held_out = says.get("held_out", {}).get("nats_per_token")
    return Prediction(
        loss=loss[0],
        low=loss[1],
        high=loss[2],
        n_prompts=tokens.shape[0],
        at=at,
        d_vocab=model.cfg.d_vocab_out,
        frequencies=says.get("baselines", {}).get("unigram_entropy"),
        held_out=(held_out["mean"], held_out["standard_error"]) if held_out else None,
        no_loss_because=reason,
    )


def _loss(model: Any, tokens: Int[Tensor, "batch pos"]) -> tuple[tuple[float, float, float], tuple[int, ...]]:
    """The mean loss with its interval, and the positions that count if not all do."""
    with torch.no_grad():
        losses = next_token_loss(model(tokens).double(), tokens, per_token=True)
    scored = scored_positions(losses, model.cfg.d_vocab_out)
    loss = over_prompts(losses[:, scored].mean(dim=1))
    at = () if scored.all() else tuple(scored.nonzero().flatten().tolist())
    return (float(loss.mean), float(loss.low), float(loss.high)), at
