"""Tasks of the literature: which of them the model does, and which heads carry what it does."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.effects import Direction
from interp.tasks import TASKS

from .engine_wording import verified
from .errors import NotApplicableError, did_you_mean
from .patching_figures import head_figure
from .result import Result
from .task_runs import Asked, Refused, asked
from .task_tables import by_share, head_tables, task_table
from .task_verdict import headline, numbers, verdict

FIRST_ASKED = "induction,ioi,capitals,agreement"

MOST_PAIRS, LEAST_PAIRS = 32, 8
MOST_WORK = 2e13
"""Multiplications and additions of one task, less than a minute of two cores."""

OWN_PROMPTS = "the tasks' own prompts"
"""What is read instead of given text."""


@dataclass(frozen=True)
class Options:
    """Which tasks are asked, with how many pairs of prompts, and which run is edited."""

    tasks: str = field(
        default=FIRST_ASKED,
        metadata={"help": f"Names of tasks, with commas between; or all. Tasks: {', '.join(TASKS)}."},
    )
    pairs: int | None = field(
        default=None,
        metadata={"help": "Pairs of prompts of each task (default: 32, fewer, 8 at least, of a large model)."},
    )
    direction: Direction = field(
        default="denoising",
        metadata={"help": "denoising: clean values into the corrupted run; noising: the reverse."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of the prompts that are drawn."})

    def __post_init__(self) -> None:
        if self.pairs is not None and self.pairs < 2:
            raise ValueError(f"pairs={self.pairs} must be at least 2: of one nothing is known of chance")
        if not all(self.names):
            raise ValueError(f"tasks={self.tasks!r} has an empty name; names stand with commas between")
        for name in self.names:
            if self.names.count(name) > 1:
                raise ValueError(f"tasks={self.tasks!r} names {name!r} twice")
            if name not in TASKS:
                raise ValueError(
                    f"tasks={self.tasks!r}: no task is called {name!r}.{did_you_mean(name, TASKS)} There are "
                    f"{', '.join(TASKS)}"
                )

    def pairs_for(self, model: Any) -> int:
        """How many pairs are asked: patching every head of a task is a few minutes' work at most."""
        if self.pairs is not None:
            return self.pairs
        weights = sum(parameter.numel() for parameter in model.parameters())
        # A pass begins at the block that is changed, which is halfway on average; a prompt has some 20 tokens.
        work = model.cfg.n_layers * model.cfg.n_heads * 20 * weights
        return min(MOST_PAIRS, max(LEAST_PAIRS, int(MOST_WORK / work)))

    @property
    def names(self) -> list[str]:
        """The tasks by name."""
        return list(TASKS) if self.tasks == "all" else [name.strip() for name in self.tasks.split(",")]


@torch.no_grad()
def run(model: Any, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """Each task's accuracy, and the effect of every head on it where the model does it.

    Args:
        tokens: not looked at; the prompts are the tasks' own.

    Raises:
        NotApplicableError: none of the tasks can be asked of the model; the message says why of each.
    """
    found: list[Asked] = []
    refused: list[Refused] = []
    for name in options.names:
        one = asked(model, name, options.pairs_for(model), options.seed, options.direction)
        if isinstance(one, Asked):
            found.append(one)
        else:
            refused.append(one)
    if not found:
        raise NotApplicableError("; ".join(f"{one.name}: {one.why}" for one in refused))
    return _result(found, refused)


def _result(found: list[Asked], refused: list[Refused]) -> Result:
    heads = head_tables(found)
    return Result(
        name="tasks",
        title="Tasks and the heads that carry them",
        question="Which tasks does the model do, and which heads carry what tells their prompts apart?",
        verdict=verdict(found, heads, refused),
        numbers=numbers(found, heads),
        tables={"Tasks": task_table(found), **{f"Heads: {name}": by_share(table) for name, table in heads.items()}},
        figures={f"Heads: {name}": head_figure(table) for name, table in heads.items()},
        identities=verified([one.effects.verification for one in found if one.effects is not None]),
        what_it_is="Pairs of prompts of each task: after the clean one a certain token is right, in the corrupted one "
        "the word on which that depends is another. A task counts as done where right beats wrong beyond chance after "
        "the clean prompts, and the corrupted ones take that away beyond chance. Then every head is patched: all its "
        "positions at once, in the one run with its values of the other.",
        how_to_read="A share of 100 % is the whole difference between the runs. A dot marks heads beyond chance: p "
        "below 0.05, adjusted for all heads of the task. Intervals: 95 % over pairs, over templates where a task has "
        "them. A head that brings the answer back alone need not be needed, and heads that act together may each do "
        "nothing alone.",
        source="Wang et al. (2023), Interpretability in the Wild; Zhang and Nanda (2023), Towards Best Practices of "
        "Activation Patching; each task's own source is in the guide.",
        headline=headline(found, heads),
    )
