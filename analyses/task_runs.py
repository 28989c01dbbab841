"""One task asked of a model: its prompts, what the model makes of them, and the effect of every head."""

from dataclasses import dataclass
from typing import Any

from interp.effects import Direction, Effects
from interp.errors import DegenerateBaselineError, TokensError
from interp.statistics import over_prompts
from interp.sweep import prepare_sweep
from interp.tasks import PromptPairs, built_in
from interp.tasks.baseline import Baseline

VERIFIED = 2
"""Heads of each task that are run again the plain way."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A task that the model can be asked.

    Attributes:
        name: of the task.
        pairs: its prompts as the model's tokens.
        baseline: the metric after clean and corrupted prompts.
        effects: of every head; None where the model does not do the task.
    """

    name: str
    pairs: PromptPairs
    baseline: Baseline
    effects: Effects | None


@dataclass(frozen=True)
class Refused:
    """A task that the model cannot be asked, and why."""

    name: str
    why: str


def asked(model: Any, name: str, n_pairs: int, seed: int, direction: Direction) -> Asked | Refused:
    """The task on the model; heads are patched only where it is done.

    Raises:
        UnknownTaskError: there is no such task.
    """
    task = built_in(name, n_pairs, seed)
    if model.cfg.d_vocab_out != model.cfg.d_vocab:
        return Refused(name, f"its {model.cfg.d_vocab_out} outputs are not the {model.cfg.d_vocab} tokens it reads")
    try:
        pairs = task.on(model, most_common_length=True)
        baseline = pairs.baseline(model)
    except (TokensError, DegenerateBaselineError) as error:
        return Refused(name, str(error).partition("\n")[0])
    if not is_done(baseline):
        return Asked(name, pairs, baseline, None)
    ready = prepare_sweep(
        model, pairs.clean, pairs.corrupted, "z", ("layer", "head"), pairs.metric,
        direction=direction, clusters=pairs.clusters,
    )  # fmt: skip
    # Plain runs set beside themselves would say nothing.
    effects = ready.run(verify=VERIFIED if ready.ready.engine == "wavefront" else 0, progress=False)
    return Asked(name, pairs, baseline, effects if isinstance(effects, Effects) else None)


def is_done(baseline: Baseline) -> bool:
    """Whether right beats wrong after the clean prompts, and more so than after the corrupted ones: beyond chance."""
    gap = over_prompts(baseline.clean - baseline.corrupted, clusters=baseline.clusters)
    return bool(baseline.clean_mean.low > 0) and bool(gap.low > 0)
