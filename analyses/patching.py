"""Activation patching between two prompts: by layer and position, and by head, which places carry the difference."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from interp.effects import Direction, Effects
from interp.errors import TokensError
from interp.metrics import Divergence, LogitDifference, LogProbability, Metric
from interp.statistics import over_prompts
from interp.sweep import prepare_sweep

from .engine_wording import verified
from .errors import NotApplicableError, OptionError
from .labels import token_labels
from .patching_figures import head_figure, position_figure, top_figure
from .patching_identities import identities
from .patching_pairs import Pairs, nearest_pairs, one_pair, repeated_pairs
from .patching_tables import Maps, head_table, position_table, top_table
from .patching_verdict import headline, numbers, verdict
from .result import Result

Measure = Literal["logit-difference", "log-probability", "divergence"]
VERIFIED = 2
"""Cells of each map that are run again the plain way."""
PLACES = {"resid_pre": "stream before the block", "attn_out": "attention writes", "mlp_out": "MLP writes"}


@dataclass(frozen=True)
class Options:
    """Which prompts are compared, which run is edited, and what is measured."""

    clean: str | None = field(default=None, metadata={"help": "The prompt whose behaviour is asked about."})
    corrupted: str | None = field(default=None, metadata={"help": "Its counterpart, with as many tokens."})
    paired: bool = field(default=False, metadata={"help": "The two given prompts are the clean and the corrupted one."})
    answer: str | None = field(default=None, metadata={"help": "The token after the clean prompt [the model's own]."})
    wrong: str | None = field(default=None, metadata={"help": "The token after the corrupted one [the model's own]."})
    direction: Direction = field(
        default="denoising",
        metadata={"help": "denoising: clean values into the corrupted run; noising: the reverse."},
    )
    metric: Measure = field(default="logit-difference", metadata={"help": "What is measured at the last position."})
    pairs: int = field(default=16, metadata={"help": "How many pairs are built where no prompts are given."})
    seed: int = field(default=0, metadata={"help": "Seed of the pairs that are built."})

    def __post_init__(self) -> None:
        if (self.clean is None) != (self.corrupted is None):
            raise ValueError("clean and corrupted go together: one of them is missing")
        if self.clean is not None and self.paired:
            raise ValueError("the pair is given as clean and corrupted, or as two prompts with paired, not both")
        if self.clean is None and not self.paired and (self.answer is not None or self.wrong is not None):
            raise ValueError("answer and wrong belong to clean and corrupted, which are missing")
        if self.pairs < 1:
            raise ValueError(f"pairs={self.pairs} must be at least 1")


@torch.no_grad()
def run(model: Any, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """The effect of every cell on the given pair, else on pairs that are built for the model.

    Without texts: random tokens of which the first ones begin again; where the context is too short for them, the
    given prompts in pairs.

    Raises:
        NotApplicableError: outputs that are not the next token, or pairs that the model does not tell apart.
        OptionError: an answer that is not a single token, or other than two prompts where they are the pair.
        TokensError, DegenerateBaselineError: as `interp.sweep`.
    """
    if model.cfg.d_vocab_out != model.cfg.d_vocab:
        raise NotApplicableError(
            f"its {model.cfg.d_vocab_out} outputs are not the {model.cfg.d_vocab} tokens it reads, so no token is an "
            "answer"
        )
    if options.clean is not None and options.corrupted is not None:
        clean, corrupted = (model.to_tokens(text, truncate=False)[0] for text in (options.clean, options.corrupted))
        return run_pair(model, clean, corrupted, options)
    if options.paired:
        if len(tokens) != 2:
            raise OptionError(f"paired asks for two prompts, clean and corrupted; given were {len(tokens)}")
        return run_pair(model, tokens[0], tokens[1], options)
    pairs = _built(model, tokens, options)
    _require_told_apart(model, pairs, options)
    return _result(model, pairs, options)


@torch.no_grad()
def run_pair(
    model: Any, clean: Int[Tensor, " pos"], corrupted: Int[Tensor, " other_pos"], options: Options = Options()
) -> Result:
    """The effect of every cell on one pair of prompts.

    Where the model says the same after both, and no tokens are given to compare, KL(clean || edited) is measured.

    Raises:
        As `run`.
    """
    return _result(model, one_pair(model, clean, corrupted, options.answer, options.wrong), options)


def _built(model: Any, tokens: Tensor, options: Options) -> Pairs:
    try:
        return repeated_pairs(model, options.pairs, options.seed)
    except TokensError:
        labels = [token_labels(model, row) for row in tokens]
        return nearest_pairs(tokens, labels, options.pairs)


def _metric(model: Any, pairs: Pairs, options: Options) -> Metric:
    if options.metric == "log-probability":
        return LogProbability(pairs.answer)
    if options.metric == "divergence" or bool((pairs.answer == pairs.wrong).any()):
        return Divergence(model(pairs.clean))
    return LogitDifference(pairs.answer, pairs.wrong)


def _require_told_apart(model: Any, pairs: Pairs, options: Options) -> None:
    """Nothing, if the metric differs between the runs beyond chance.

    Raises:
        NotApplicableError: it does not; a patch of noise would be shares of nothing.
    """
    metric = _metric(model, pairs, options)
    clean, corrupted = metric(model(pairs.clean)), metric(model(pairs.corrupted))
    gap = over_prompts(clean - corrupted)
    if bool(gap.low <= 0) and bool(gap.high >= 0):
        raise NotApplicableError(
            f"it does not tell the pairs apart: the {metric.name} is {float(clean.mean()):.3g} on the clean and "
            f"{float(corrupted.mean()):.3g} on the corrupted prompts, and the interval of the difference, "
            f"{float(gap.low):.3g} to {float(gap.high):.3g}, includes 0 ({pairs.origin}); give "
            "--clean and --corrupted, two texts after which it says different things"
        )


def _result(model: Any, pairs: Pairs, options: Options) -> Result:
    metric = _metric(model, pairs, options)

    def swept(point: str, *axes: str) -> Effects:
        over = ("layer", *axes)
        ready = prepare_sweep(model, pairs.clean, pairs.corrupted, point, over, metric, direction=options.direction)
        # Plain runs set beside themselves would say nothing.
        effects = ready.run(verify=VERIFIED if ready.ready.engine == "wavefront" else 0, progress=False)
        return effects if isinstance(effects, Effects) else effects[metric.name]

    places = {name: point for point, name in PLACES.items() if f"blocks.0.hook_{point}" in model.hook_dict}
    maps = Maps({name: swept(point, "pos") for name, point in places.items()}, swept("z", "head"), pairs.labels)
    positions, heads = position_table(maps), head_table(maps)
    top = top_table(positions, heads)
    return Result(
        name="patching",
        title="Activation patching",
        question="Which places, and which heads, carry what tells the clean from the corrupted prompts?",
        verdict=verdict(maps, positions, heads, pairs.origin),
        numbers=numbers(maps, heads, positions),
        headline=headline(maps, heads),
        tables={"Strongest cells": top, "By head": heads, "By layer and position": positions},
        figures={
            "By layer and position": position_figure(positions, pairs.labels),
            "By head": head_figure(heads),
            "Strongest cells": top_figure(top),
        },
        identities=[
            *identities(model, pairs, metric, maps, swept("resid_pre")),
            *verified(effects.verification for effects in maps.sweeps.values()),
        ],
        what_it_is="Two prompts that differ in a token are run. Then one activation of the one run is put in the place "
        "of the same activation of the other, everything behind it runs on, and the prediction is looked at again: if "
        "it comes out as in the other run, the activation carried the difference. Denoising puts clean values into the "
        "corrupted run and finds what is enough; noising puts corrupted values into the clean run and finds what is "
        "needed.",
        how_to_read="The colour is the share of the difference between the two runs that one cell brings about: 0 is "
        "the run that is edited as it was, 1 is the other run. Shares of several cells need not add up to 1, and "
        "negative ones lead away. Cells without colour cannot matter: both runs have the same value there, or nothing "
        "that is read comes after them. A dot marks what is beyond chance: p < 0.05, adjusted for all cells of all "
        "maps together (signs of whole pairs flipped, max-T), with an interval that leaves out 0. Intervals: 95 % over "
        "pairs, of the ratio of the means.",
        source="Zhang and Nanda (2023), Towards Best Practices of Activation Patching in Language Models; Heimersheim "
        "and Nanda (2024), How to use and interpret activation patching.",
    )
