"""Prompt pairs as tokens of one model: what sweeps, metrics and labels are made from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import MetricError
from ..metrics import LogitDifference, Metric
from .answer_sets import ProbabilityDifference
from .baseline import Baseline, baseline
from .texts import shown, shown_answers

Sets = tuple[tuple[int, ...], ...]
Texts = tuple[tuple[str, ...], ...]

LISTED = 4
"""Pairs that are shown in full; a data frame has them all."""


@dataclass(frozen=True, eq=False, repr=False)
class PromptPairs:
    """Clean and corrupted prompts of equal length, and the tokens that are right and wrong after the clean ones.

    Attributes:
        name: of the task.
        clean: the prompts whose behaviour is asked about.
        corrupted: their counterparts, position by position.
        answer_sets: of each pair the tokens that are right behind the clean prompt, one or several.
        wrong_sets: of each pair the tokens they are set against.
        clusters: the template of each pair; () where there are none.
        tokens_clean: the tokens of each clean prompt as text.
        tokens_corrupted: those of each corrupted prompt.
        answer_texts: the right tokens as text.
        wrong_texts: the wrong ones.
        notes: what a reader must know: how many pairs were left out.
    """

    name: str
    clean: Int[Tensor, "prompt pos"]
    corrupted: Int[Tensor, "prompt pos"]
    answer_sets: Sets
    wrong_sets: Sets
    clusters: tuple[str, ...]
    tokens_clean: Texts
    tokens_corrupted: Texts
    answer_texts: Texts
    wrong_texts: Texts
    notes: tuple[str, ...] = ()

    @property
    def position(self) -> int:
        """Where the prediction is read: the last position."""
        return -1

    @property
    def answer(self) -> Int[Tensor, " prompt"]:
        """The one right token of each pair.

        Raises:
            MetricError: a pair has several; `answer_sets` has them.
        """
        return self._only(self.answer_sets, "right")

    @property
    def wrong(self) -> Int[Tensor, " prompt"]:
        """The one wrong token of each pair.

        Raises:
            MetricError: a pair has several; `wrong_sets` has them.
        """
        return self._only(self.wrong_sets, "wrong")

    def _only(self, sets: Sets, what: str) -> Int[Tensor, " prompt"]:
        for at, ids in enumerate(sets):
            if len(ids) > 1:
                raise MetricError(f"pair {at} of {self.name} has {len(ids)} {what} tokens; take probability_difference")
        return torch.tensor([ids[0] for ids in sets], device=self.clean.device)

    @cached_property
    def metric(self) -> Metric:
        """What tells right from wrong: the logit difference, or between several tokens the probability difference."""
        if all(len(ids) == 1 for ids in (*self.answer_sets, *self.wrong_sets)):
            return LogitDifference(self.answer, self.wrong, self.position)
        return self.probability_difference

    @cached_property
    def probability_difference(self) -> Metric:
        """p(right tokens) - p(wrong tokens)."""
        return ProbabilityDifference.between(self.answer_sets, self.wrong_sets, self.position)

    def baseline(self, model: Any) -> Baseline:
        """The metric of both runs, and how often right beats wrong.

        Raises:
            DegenerateBaselineError: the model's metric is the same in both, so that there is nothing to explain.
        """
        return baseline(model, self.clean, self.corrupted, self.metric, self.clusters)

    def __len__(self) -> int:
        return len(self.clean)

    def to_frame(self) -> Any:
        """A pandas data frame with a row for each pair: its template and its prompts and answers as tokens."""
        import pandas as pd  # the library itself does without

        return pd.DataFrame(
            {
                "template": self.clusters or [""] * len(self),
                "clean": [shown(row) for row in self.tokens_clean],
                "corrupted": [shown(row) for row in self.tokens_corrupted],
                "answer": [shown_answers(row) for row in self.answer_texts],
                "wrong": [shown_answers(row) for row in self.wrong_texts],
            }
        )

    def __repr__(self) -> str:
        n_templates = len(set(self.clusters))
        head = f"{self.name}: {len(self)} prompt pairs of {self.clean.shape[1]} tokens"
        head += f" from {n_templates} templates" if n_templates else ""
        lines = [line for at in range(min(LISTED, len(self))) for line in self._listed(at)]
        more = [f"  … and {len(self) - LISTED} more"] if len(self) > LISTED else []
        return "\n".join([head, *lines, *more, *(f"  note: {note}" for note in self.notes)])

    def _listed(self, at: int) -> list[str]:
        both = list(zip(self.tokens_clean[at], self.tokens_corrupted[at], strict=True))
        changed = [
            f"{position}: {shown([one])} → {shown([other])}"
            for position, (one, other) in enumerate(both)
            if self.clean[at, position] != self.corrupted[at, position]
        ]
        answers = f"{shown_answers(self.answer_texts[at])}, not {shown_answers(self.wrong_texts[at])}"
        return [
            f"  {at:>3}  {shown(self.tokens_clean[at])}",
            f"       corrupted at {', '.join(changed)}",
            f"       answer {answers}",
        ]
