"""Depth: how the stream grows, how alike its positions become, and what each block is worth."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import TokensError
from interp.invariants.invariant import ROUNDING
from interp.invariants.stream import gradient_off_the_skip
from interp.over_smoothing import mean_cosine
from models import HookedTransformer

from .depth_figures import likeness_figure, skip_figure, stream_figure
from .depth_measures import Depth, averaged_likeness, depth, losses, skipped, streams
from .depth_tables import AVERAGED, AVERAGED_ALONE, FRESH, GIVEN, block_table, likeness_table, stream_table
from .depth_verdict import verdict
from .errors import NotApplicableError
from .initial_runs import FreshModel
from .result import Identity, Result
from .scored_positions import said, scored_positions

_FLOAT64 = ROUNDING.by_dtype[torch.float64]
_IDENTITY_PROMPTS, _IDENTITY_POSITIONS = 1, 8
"""What suffices to see the gradient's identity fail."""

_WHAT_IT_IS = (
    "Each block adds what it computed to the stream. Three questions about many blocks in a row: does the stream grow; "
    "do its positions become alike, because attention averages (over-smoothing); and does the gradient reach the "
    "first block? Each is answered for the trained model, for the same architecture with fresh random weights, and for "
    "a stream that is only averaged, where the answer is known: the part in which positions differ shrinks by 1/2 a "
    "layer, and by 3/4 with the skip, in the limit of many layers."
)
_HOW_TO_READ = (
    "Mean cosine near 1, relative residual near 0 and effective rank near 1 all say that positions have become the "
    "same. The raw cosine is also high if all positions share one large constant; centred on the other prompts that is "
    "taken out, so read both. The averages start from the model's own embeddings. Bars are 95 %: over prompts for the "
    "model, over draws of the weights for fresh ones. A block that is left out passes the stream on as it was: later "
    "blocks see what they were not trained on, so the cost is not the block's share of the loss; costs do not add up."
)
_SOURCE = (
    "Dong, Cordonnier and Loukas (2021), Attention is not all you need; Roy and Vetterli (2007), effective rank; "
    "Xiong et al. (2020), On layer normalization; Veit, Wilber and Belongie (2016) for leaving blocks out."
)


@dataclass(frozen=True)
class Options:
    """What is left out, and how much is drawn."""

    first: int = field(
        default=1,
        metadata={"help": "Positions at the start left out of the measures of likeness; the first is unlike."},
    )
    seeds: int = field(default=3, metadata={"help": "Draws of fresh weights; their intervals are over them."})
    prompts: int = field(default=8, metadata={"help": "Prompts that are run."})

    def __post_init__(self) -> None:
        if self.first < 0 or self.seeds < 2 or self.prompts < 1:
            raise ValueError(
                f"first={self.first} must be at least 0, seeds={self.seeds} at least 2 and prompts={self.prompts} "
                "at least 1"
            )


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """Likeness of positions, length of the stream, gradient and worth of each block, by depth.

    Raises:
        NotApplicableError: a context too short for two positions to compare.
        TokensError: fewer than two positions are left to compare.
        NonFiniteError: a stream that is not finite.
    """
    tokens = tokens[: options.prompts]
    if model.cfg.n_ctx - options.first < 2:
        raise NotApplicableError(
            f"likeness compares two positions, and its context of {model.cfg.n_ctx} has fewer without the first "
            f"{options.first}"
        )
    if tokens.shape[1] - options.first < 2:
        raise TokensError(
            f"likeness compares two positions at least; prompts of {tokens.shape[1]} positions less the first "
            f"{options.first} have {max(0, tokens.shape[1] - options.first)}"
        )
    found = streams(model, tokens)
    counted = _counted(model, tokens)
    given = depth(model, tokens, found, options.first, counted)
    fresh = [
        depth(
            drawn, tokens, streams(drawn, tokens), options.first, None if counted is None else torch.ones_like(counted)
        )
        for drawn in FreshModel(model).draws("gpt2", options.seeds)
    ]
    causal = model.cfg.attention_dir == "causal"
    averaged = {
        name: averaged_likeness(found[0], model.cfg.n_layers, skip, causal, options.first)
        for name, skip in ((AVERAGED, True), (AVERAGED_ALONE, False))
    }
    increase, divergence, resumed = skipped(model, tokens, found, counted)
    likeness = likeness_table(given, fresh, averaged)
    stream = stream_table(given, fresh, post_norm=model.cfg.norm_placement == "post")
    blocks = block_table(given, fresh, increase, divergence)
    return Result(
        name="depth",
        title="What depth does",
        question="From block to block, does the stream grow, do its positions become alike, does the gradient get "
        "through, and what is lost without a block?",
        verdict=verdict(likeness, stream, blocks, tokens, options, "" if counted is None else said(counted)),
        numbers=_numbers(likeness, stream, blocks),
        tables={"How alike positions are": likeness, "Length and gradient": stream, "Blocks": blocks},
        figures={
            "How alike positions are": likeness_figure(likeness),
            "Length of the stream and gradient": stream_figure(stream),
            "Leaving out a block": skip_figure(blocks),
        },
        identities=_identities(model, tokens, found[:, :, options.first :], given, resumed),
        what_it_is=_WHAT_IT_IS,
        how_to_read=_HOW_TO_READ,
        source=_SOURCE,
    )


def _counted(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, " predicted"] | None:
    """Which predictions count; None where the model predicts another vocabulary than it reads, and there is no loss."""
    if model.cfg.d_vocab_out != model.cfg.d_vocab:
        return None
    return scored_positions(losses(model(tokens), tokens), model.cfg.d_vocab)


def _numbers(likeness: pd.DataFrame, stream: pd.DataFrame, blocks: pd.DataFrame) -> dict[str, float | int | str]:
    ends = {name: rows.iloc[-1] for name, rows in likeness.groupby("weights")}
    lengths = {name: rows for name, rows in stream.groupby("weights")}
    worst = blocks.loc[blocks["kl_nats"].idxmax()]
    numbers: dict[str, float | int | str] = {
        "mean_cosine_at_the_end": float(ends[GIVEN]["mean_cosine"]),
        "mean_cosine_at_the_end_when_fresh": float(ends[FRESH]["mean_cosine"]),
        "relative_residual_at_the_end": float(ends[GIVEN]["relative_residual"]),
        "effective_rank_at_the_end": float(ends[GIVEN]["effective_rank"]),
        "stream_at_the_end_over_its_start": float(lengths[GIVEN]["length"].iloc[-1] / lengths[GIVEN]["length"].iloc[0]),
        "block_that_is_missed_most": int(worst["block"]),
        "kl_without_it_nats": float(worst["kl_nats"]),
    }
    gradient = float(lengths[GIVEN]["gradient_over_the_last"].iloc[0])
    # A model that predicts another vocabulary than it reads has no loss, hence no gradient.
    return numbers if pd.isna(gradient) else numbers | {"gradient_at_the_start_over_the_end": gradient}


def _identities(
    model: HookedTransformer,
    tokens: Int[Tensor, "batch pos"],
    compared: Float[Tensor, "place batch kept d_model"],
    given: Depth,
    resumed: float,
) -> list[Identity]:
    rounding = ROUNDING.by_dtype[model.cfg.dtype]
    identities = [
        Identity(
            "(|sum u|^2 - n) / (n (n - 1)) is the mean over all pairs of positions, each cosine by itself",
            float((mean_cosine(compared[-1]) - _pair_by_pair(compared[-1])).abs().max()),
            _FLOAT64,
        ),
        Identity("|x + f|^2 = |x|^2 + |f|^2 + 2 x f at every block", given.growth.identity_error, _FLOAT64),
        Identity("a run resumed before a block gives the model's logits", resumed, rounding),
    ]
    if model.cfg.norm_placement == "pre":
        few = tokens[:_IDENTITY_PROMPTS, :_IDENTITY_POSITIONS]
        off = gradient_off_the_skip(model, few)
        identities.append(
            Identity("the gradient before a block is that behind it plus what its branches pass back", off, rounding)
        )
    return identities


def _pair_by_pair(stream: Float[Tensor, "prompt pos d_model"]) -> Float[Tensor, " prompt"]:
    cosines = torch.nn.functional.cosine_similarity(stream[:, :, None], stream[:, None], dim=-1)
    n = stream.shape[1]
    return cosines[:, ~torch.eye(n, dtype=torch.bool, device=stream.device)].mean(dim=1)
