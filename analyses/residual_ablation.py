"""Ablation of the residual contributions, in the four senses the words can have."""

import math
from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.residual_ablation import REPLACEMENTS, Replacement
from models import HookedTransformer
from models.loss import next_token_loss

from .ablated_blocks import ablated_blocks
from .next_token import require_next_token
from .residual_effects import DRAWS, EDGE, REMOVED, SCALED, SKIP, effects
from .residual_figures import edge_figure, place_figure
from .result import Result
from .scored_positions import said, scored_positions
from .wording import listed

FAR, FAR_NATS = 2.0, 1.0
"""A stream longer or shorter by this factor, at such a KL, is called far from what later blocks were trained on."""


@dataclass(frozen=True)
class Options:
    """How much is run, and how far branches are scaled."""

    prompts: int = field(default=8, metadata={"help": "Prompts the effects are averaged over."})
    positions: int = field(default=24, metadata={"help": "Positions of each prompt that are run."})
    alpha: float = field(default=0.5, metadata={"help": "What is left of a branch that is scaled."})
    seed: int = field(default=0, metadata={"help": "Seed of the random directions of the control."})
    blocks: int | None = field(
        default=None,
        metadata={"help": "Blocks that are ablated, evenly spread; by default as many as a few minutes allow."},
    )

    def __post_init__(self) -> None:
        if self.blocks is not None and self.blocks < 1:
            raise ValueError(f"blocks={self.blocks} must be at least 1")
        if self.prompts < 1 or self.positions < 2:
            raise ValueError(f"prompts={self.prompts} must be at least 1, and positions={self.positions} at least 2")
        if not math.isfinite(self.alpha):
            raise ValueError(f"alpha={self.alpha} must be a finite number")


def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """The effect on loss and logits of every ablation, beside a random direction of the same length.

    Raises:
        NotApplicableError: the model does not predict the next token.
        ValueError: tokens of one position, which have no loss.
    """
    require_next_token(model)
    if tokens.shape[1] < 2:
        raise ValueError(f"the loss needs a next token; tokens of shape {list(tokens.shape)} have none")
    tokens = tokens[: options.prompts, : options.positions]
    kinds: tuple[Replacement, ...] = REPLACEMENTS if len(tokens) > 1 else ("zero",)
    scored = _scored(model, tokens)
    blocks = ablated_blocks(model, options.blocks, tokens.numel(), len(kinds) * (1 + DRAWS))
    generator = torch.Generator().manual_seed(options.seed)
    table = effects(model, tokens, kinds, options.alpha, generator, scored, blocks)
    by_sense = {sense: rows.reset_index(drop=True) for sense, rows in table.groupby("sense", sort=False)}
    titles = {
        REMOVED: "Branch removed",
        SCALED: f"Branch scaled to {options.alpha:g}",
        SKIP: "Skip removed",
        EDGE: "One writer hidden from one reader",
    }
    return Result(
        name="residual-ablation",
        title="Ablation of the residual contributions",
        question="What is lost if the skip, a branch, or a single writer's part of what one reader sees is taken away "
        "from the residual stream?",
        verdict=_verdict(model, by_sense, len(tokens), options.alpha, said(scored)) + _left_out(model, blocks),
        numbers=_numbers(by_sense),
        tables={titles[sense]: rows for sense, rows in by_sense.items()},
        figures={
            titles[sense]: edge_figure(rows) if sense == EDGE else place_figure(rows)
            for sense, rows in by_sense.items()
        },
        how_to_read="Each ablation replaces a part of the stream by zero, by its mean over the prompts at each "
        "position, or by its value on another prompt. The control adds a random direction of the same length at the "
        f"same place, drawn {DRAWS} times and averaged (the tables also hold the least and the most of the draws): an "
        "effect that does not exceed it says how large the change was, not what was in it. Zero and the "
        "missing skip take the stream where it never is in training (see the ratio of its lengths). An effect is what "
        "is lost with everything else as it was: other parts may have filled in. Intervals: 95 % over prompts.",
        source="Four senses: add up, scale, skip, edge. Resampling: Chan et al. (2022); self-repair: Wang et al. "
        "(2022); zero against mean: Li and Janson (2024).",
    )


def _scored(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, " predicted"]:
    with torch.no_grad():
        losses = next_token_loss(model(tokens).double(), tokens, per_token=True)
    return scored_positions(losses, model.cfg.d_vocab)


def _numbers(by_sense: dict[str, pd.DataFrame]) -> dict[str, float | int | str]:
    numbers: dict[str, float | int | str] = {}
    for sense, rows in by_sense.items():
        kind = "mean" if "mean" in set(rows["replacement"]) else "zero"
        best = _strongest(rows, kind)
        key = sense.replace(" ", "_")
        numbers[f"{key}_strongest_by_{kind}"] = _place(best)
        numbers[f"{key}_strongest_kl_nats"] = float(best["kl_nats"])
        numbers[f"{key}_strongest_loss_increase_nats"] = float(best["loss_increase_nats"])
        numbers[f"{key}_cells_beyond_a_random_direction"] = int((rows["excess_kl_nats_low"] > 0).sum())
        numbers[f"{key}_cells"] = len(rows)
    return numbers


def _strongest(rows: pd.DataFrame, kind: str) -> pd.Series:
    of_kind = rows[rows["replacement"] == kind]
    return of_kind.loc[of_kind["kl_nats"].idxmax()]


def _place(row: pd.Series) -> str:
    return str(row["writer"]) if row["sense"] != EDGE else f"{row['writer']} to {row['reader']}"


def _verdict(
    model: HookedTransformer, by_sense: dict[str, pd.DataFrame], n_prompts: int, alpha: float, scored: str
) -> str:
    kind = "mean" if n_prompts > 1 else "zero"
    openings = {
        REMOVED: "Of the branches removed",
        SCALED: f"Of the branches scaled to {alpha:g}",
        SKIP: "Of the skips replaced",
        EDGE: "Of the edges hidden",
    }
    sentences = []
    for sense, rows in by_sense.items():
        best = _strongest(rows, kind)
        sentences.append(
            f"{openings[sense]} by {kind}, {_place(best)} costs most: KL {best['kl_nats']:.2f} nats"
            f"{_interval(best, 'kl_nats')}, loss {best['loss_increase_nats']:+.2f}"
            f"{_interval(best, 'loss_increase_nats')}; a random direction of that length costs KL "
            f"{best['placebo_kl_nats']:.2f} ({best['placebo_kl_nats_least']:.2f} to {best['placebo_kl_nats_most']:.2f} "
            f"in {DRAWS} draws)."
        )
    if scored:
        sentences.append(scored)
    sentences.append(without_skip(_strongest(by_sense[SKIP], "zero"), model.cfg.n_layers))
    if n_prompts > 1:
        cells = pd.concat(list(by_sense.values()))
        beyond = cells[cells["excess_kl_nats_low"] > 0]
        every_draw = int((beyond["kl_nats"] > beyond["placebo_kl_nats_most"]).sum())
        sentences.append(
            f"{len(beyond)} of {len(cells)} ablations cost more than a random direction of the same length (interval "
            f"of the paired difference above 0, {n_prompts} prompts, not corrected for the number of intervals), "
            f"{every_draw} of them more than each of the {DRAWS} directions drawn. The intervals are over prompts, not "
            f"over directions."
        )
    else:
        sentences.append("With one prompt there is no mean, no other prompt and no interval: only zero is shown.")
    if EDGE not in by_sense:
        sentences.append("Post-norm blocks have no edges: behind a norm the stream is no sum of what was written.")
    return "\n".join(sentences)


def _left_out(model: HookedTransformer, blocks: list[int]) -> str:
    n_layers = model.cfg.n_layers
    if len(blocks) == n_layers:
        return ""
    return (
        f"\nOf the {n_layers} blocks {len(blocks)} were ablated, to keep this short: {listed(list(map(str, blocks)))}."
    )


def without_skip(zero: pd.Series, n_layers: int) -> str:
    """What the loss of a skip does, called far only if it is and a later block has to read it."""
    said = (
        f"Without any skip {zero['writer']} the stream is {zero['norm_ratio']:.2f} times as long and the KL "
        f"{zero['kl_nats']:.2f} nats"
    )
    later = int(zero["writer"].split()[1]) < n_layers - 1
    far = not 1 / FAR < zero["norm_ratio"] < FAR and zero["kl_nats"] > FAR_NATS
    return f"{said}: far from anything the later blocks were trained on." if later and far else f"{said}."


def _interval(row: pd.Series, column: str) -> str:
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return "" if pd.isna(low) else f" ({low:.2f} to {high:.2f})"
