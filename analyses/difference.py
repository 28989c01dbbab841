"""Two models on the same prompts: what the other loses or gains, where they disagree, and which weights moved."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.invariants.invariant import ROUNDING
from interp.model_difference import (
    PredictionDifference,
    WeightChange,
    prediction_difference,
    stream_difference,
    weight_changes,
)

from .difference_figures import figures
from .difference_tables import Compared, by_position, by_prompt, changed_tokens, streams, unmatched_weights, weights
from .difference_verdict import headline, numbers, verdict
from .next_token import require_same_vocabulary
from .result import Identity, Result
from .scored_positions import scored_positions


@dataclass(frozen=True)
class Options:
    """How much is listed."""

    top: int = field(default=40, metadata={"help": "Tokens listed whose prediction changed most."})

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top={self.top} must be at least 1")


def run(
    model: Any,
    other: Any,
    tokens: Int[Tensor, "batch pos"],
    options: Options = Options(),
    names: tuple[str, str] = ("the model", "the other"),
) -> Result:
    """KL(model || other) and the other's loss minus the model's by prompt, and the change of each weight and stream.

    Args:
        names: what the two are called in words.

    Raises:
        NotApplicableError: outputs that are not the tokens it reads, so that there is no loss.
        TokensError: the tokens have no next token to ask about.
        NonFiniteError: logits that are not finite.
    """
    require_same_vocabulary(model)
    predictions = prediction_difference(model, other, tokens)
    changes, unmatched = weight_changes(dict(model.named_parameters()), dict(other.named_parameters()))
    d_vocab = model.cfg.d_vocab_out
    scored = scored_positions(predictions.loss, d_vocab) & scored_positions(predictions.other_loss, d_vocab)
    if not scored.any():
        scored = torch.ones_like(scored)
    stream = stream_difference(model, other, tokens)
    found = Compared(
        predictions, scored, by_prompt(predictions, scored), weights(changes), stream and streams(stream), unmatched
    )
    tables = {
        "By prompt": found.prompts,
        "By position": by_position(predictions),
        "Where the predictions changed most": changed_tokens(model, tokens, predictions, options.top),
        "Weights": found.weights,
    }
    if found.streams is not None:
        tables["Streams"] = found.streams
    if unmatched:
        tables["Weights without a partner"] = unmatched_weights(unmatched)
    return Result(
        name="difference",
        title="How the two models differ",
        question=f"On the same prompts, where do the predictions of {names[0]} and {names[1]} part, and which weights "
        "and streams changed?",
        verdict=verdict(names, found),
        numbers=numbers(found),
        tables=tables,
        figures=figures(tables, names),
        identities=_identities(model, other, tokens, predictions, changes),
        what_it_is=f"Both models read the same prompts. KL({names[0]} ‖ {names[1]}) says how many nats per token are "
        f"lost by expecting what {names[1]} predicts where {names[0]} is right about the odds; the loss difference "
        "says which of the two the true next token surprises less. The relative change of a weight is |ΔW| / |W|, its "
        "cosine the angle between old and new; the cosine of the streams says how alike the two compute at a place.",
        how_to_read=f"A positive loss difference: {names[1]} does worse. Intervals are 95 % over prompts, of the "
        "paired differences, so that what is hard about a prompt for both drops out. Two models that were trained from "
        "different starts have streams and weights that cannot be compared direction by direction: a low cosine then "
        "says nothing about what they compute; only predictions can be compared. What is exactly equal is exactly 0 "
        "(cosine 1).",
        source="Kullback and Leibler (1951); paired bootstrap: Efron and Tibshirani (1993).",
        headline=headline(names, found),
    )


def _identities(
    model: Any,
    other: Any,
    tokens: Int[Tensor, "batch pos"],
    predictions: PredictionDifference,
    changes: list[WeightChange],
) -> list[Identity]:
    allowed = max(ROUNDING.by_dtype[each.cfg.dtype] for each in (model, other))
    off = []
    for each, losses in ((model, predictions.loss), (other, predictions.other_loss)):
        own = float(each(tokens, return_type="loss").detach())
        off.append(abs(own - float(losses.mean())) / max(abs(own), 1e-300))
    found = [
        Identity("the mean of the losses is the loss that each model gives itself", max(off), allowed),
        Identity("the KL is the cross-entropy less the entropy", predictions.identity_error, 1e-10),
    ]
    if changes:
        law = max(change.cosine_law_error for change in changes)
        found.append(Identity("|ΔW|² is |W|² + |W'|² − 2 |W| |W'| cos", law, 1e-10))
    return found
