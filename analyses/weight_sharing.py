"""Weight sharing: what one matrix for embedding and unembedding saves, and what the direct path between them does."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from interp.invariants.invariant import ROUNDING
from interp.weight_sharing import DirectPath, direct_path, own_on_top, shared_directions
from models import HookedTransformer

from .errors import NotApplicableError
from .next_token import require_next_token
from .result import Identity, Result
from .scored_positions import said
from .weight_sharing_figures import cosine_figure, eigenvalue_figure, loss_figure
from .weight_sharing_losses import DIRECT, MODEL, SWAPPED, losses
from .weight_sharing_tables import cosine_table, eigenvalue_table, parameter_table
from .weight_sharing_verdict import verdict

_FLOAT64 = ROUNDING.by_dtype[torch.float64]
"""What is read off the weights is computed in float64, whatever their dtype."""

_WHAT_IT_IS = (
    "A transformer has a vector for each token that it reads (a row of W_E) and one for each token that it can "
    "predict (a column of W_U). Weight sharing, or tying, makes them the same vector, which saves a matrix. What is "
    "read goes to the output also without any block in between: through the stream, the final norm and W_U. That "
    "direct path, W_E W_U, can hold at most which token follows which: the statistics of pairs."
)
_HOW_TO_READ = (
    "Losses are in nats a token, their intervals 95 % over prompts. The direct path is read with the model's own "
    "final norm, from the token's embedding alone, without its position. Its null gives it the embedding of another "
    "token of the same prompts: what the path is better than that comes from knowing the token. Eigenvalues on the "
    "right are directions in which tokens raise themselves, on the left in which they lower themselves; a shared "
    "matrix can have none on the left, so that there the blocks must undo what says 'repeat the token'. The matrix is "
    "read as it is, without the final norm's weights."
)
_SOURCE = (
    "Press and Wolf (2017), Using the output embedding to improve language models; Elhage et al. (2021), zero-layer "
    "transformers."
)


@dataclass(frozen=True)
class Options:
    """How much is looked at."""

    draws: int = field(default=4, metadata={"help": "How often other tokens are drawn for the direct path's null."})
    rows: int = field(
        default=1024, metadata={"help": "Tokens asked whether they raise themselves most, spread evenly."}
    )

    def __post_init__(self) -> None:
        if self.draws < 1 or self.rows < 1:
            raise ValueError(f"draws={self.draws} and rows={self.rows} must be at least 1")


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """Parameters with and without sharing, the direct path's matrix, and losses with parts of it exchanged.

    Raises:
        NotApplicableError: different vocabularies are read and predicted, the next token has been seen, or there is one
            token only.
        ValueError: tokens of one position, which have no loss.
    """
    cfg = model.cfg
    if cfg.d_vocab != cfg.d_vocab_out:
        raise NotApplicableError(f"it reads {cfg.d_vocab} tokens and predicts {cfg.d_vocab_out}: none can be shared")
    require_next_token(model)
    if cfg.d_vocab < 2:
        raise NotApplicableError("its vocabulary is a single token")
    if tokens.shape[1] < 2:
        raise ValueError(f"the loss needs a next token; tokens of shape {list(tokens.shape)} have none")
    path, directions = direct_path(model.W_E, model.W_U), shared_directions(model.W_E, model.W_U)
    rows = torch.arange(0, cfg.d_vocab, max(1, -(-cfg.d_vocab // options.rows)), device=model.W_E.device)
    on_top = own_on_top(model.W_E, model.W_U, rows).double()
    parameters = parameter_table(model)
    measured, scored = losses(model, tokens, options.draws)
    cosines = cosine_table(directions)
    eigenvalues = eigenvalue_table(path)
    figures = {"Losses": loss_figure(measured), "Eigenvalues of the direct path": eigenvalue_figure(eigenvalues)}
    if not cfg.tie_word_embeddings:
        figures["Cosine of a token's two vectors"] = cosine_figure(directions, cosines)
    return Result(
        name="weight-sharing",
        title="Weight sharing",
        question="What does one matrix for reading and predicting tokens save, and what does the path straight from "
        "the one to the other know?",
        verdict=verdict(model, parameters, path, float(on_top.mean()), cosines, measured, said(scored)),
        numbers=_numbers(model, parameters, path, float(on_top.mean()), cosines, measured),
        tables={
            "Parameters": parameters,
            "Losses": measured,
            "Cosine of the two vectors of a token": cosines,
            "Eigenvalues of the direct path": eigenvalues,
        },
        figures=figures,
        identities=_identities(model, path, parameters, measured),
        what_it_is=_WHAT_IT_IS,
        how_to_read=_HOW_TO_READ,
        source=_SOURCE,
    )


def _numbers(
    model: HookedTransformer,
    parameters: pd.DataFrame,
    path: DirectPath,
    on_top: float,
    cosines: pd.DataFrame,
    measured: pd.DataFrame,
) -> dict[str, float | int | str]:
    total, loss = parameters.set_index("part").loc["all"], measured.set_index("logits_from")["loss_nats"]
    return {
        "shared": "yes" if model.cfg.tie_word_embeddings else "no",
        "parameters": int(total["shared" if model.cfg.tie_word_embeddings else "apart"]),
        "parameters_that_sharing_saves": int(total["apart"] - total["shared"]),
        "loss_of_the_model_nats": float(loss[MODEL]),
        "loss_of_the_direct_path_nats": float(loss[DIRECT]),
        "loss_with_the_embedding_as_unembedding_nats": float(loss[SWAPPED]),
        "mean_cosine_of_the_two_vectors_of_a_token": float(cosines["mean_cosine"].iloc[0]),
        "positivity_of_the_eigenvalues": path.positivity,
    }


def _identities(
    model: HookedTransformer,
    path: DirectPath,
    parameters: pd.DataFrame,
    measured: pd.DataFrame,
) -> list[Identity]:
    """Second roads to the parameters and the spectrum; for a shared matrix, what sharing makes necessary."""
    counted = sum(parameter.numel() for parameter in model.parameters())
    total = parameters.set_index("part").loc["all", "shared" if model.cfg.tie_word_embeddings else "apart"]
    trace, squares = path.eigenvalues.sum().real, path.eigenvalues.square().sum().real
    norm_squared = path.own.square().sum() / path.diagonal_share
    found = [
        Identity("the parameters counted part by part are the model's", abs(int(total) - counted) / counted, 0.0),
        Identity(
            "the eigenvalues of the d_model x d_model product sum to the diagonal of W_E W_U",
            float((trace - path.own.sum()).abs() / path.eigenvalues.abs().sum()),
            _FLOAT64,
        ),
        Identity(
            "their squares sum to the trace of (W_E W_U)^2",
            float((squares / norm_squared - (2 * path.symmetric_share - 1)).abs()),
            _FLOAT64,
        ),
    ]
    if not model.cfg.tie_word_embeddings:
        return found
    rounding = ROUNDING.by_dtype[model.cfg.dtype]
    by = measured.set_index("logits_from")["loss_nats"]
    # A loss of almost nothing is rounded like one of a nat: by the size of the logits.
    swapped = abs(float(by[SWAPPED]) - float(by[MODEL])) / max(1.0, float(by[MODEL]))
    size = path.eigenvalues.abs().max()
    worst = torch.maximum(path.eigenvalues.imag.abs().max(), -path.eigenvalues.real.min()).clamp(min=0)
    return [
        *found,
        Identity("embedding and unembedding are the same memory", float(not _same_memory(model)), 0.0),
        Identity("W_E^T in the place of W_U changes no loss", swapped, rounding),
        Identity("W_E W_E^T has no negative and no complex eigenvalue", float(worst / size), _FLOAT64),
    ]


def _same_memory(model: HookedTransformer) -> bool:
    return model.W_U.data_ptr() == model.W_E.data_ptr()
