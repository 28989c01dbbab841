"""Metrics by name, made for the prompt pairs of a task."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from interp.metrics import Accuracy, Divergence, LogitDifference, LogProbability, Metric, Probability, Rank
from interp.tasks import PromptPairs


@torch.no_grad()
def _divergence(model: Any, pairs: PromptPairs) -> Metric:
    return Divergence(model(pairs.clean), pairs.position)


METRICS: Mapping[str, Callable[[Any, PromptPairs], Metric]] = MappingProxyType(
    {
        "logit-difference": lambda model, pairs: LogitDifference(pairs.answer, pairs.wrong, pairs.position),
        "probability-difference": lambda model, pairs: pairs.probability_difference,
        "log-probability": lambda model, pairs: LogProbability(pairs.answer, pairs.position),
        "probability": lambda model, pairs: Probability(pairs.answer, pairs.position),
        "rank": lambda model, pairs: Rank(pairs.answer, pairs.position),
        "accuracy": lambda model, pairs: Accuracy(pairs.answer, position=pairs.position),
        "divergence": _divergence,
    }
)
"""What can be measured on prompt pairs; `divergence` is KL(clean || edited)."""


def task_metric(pairs: PromptPairs) -> str:
    """The name of the metric that the pairs are made for."""
    single = all(len(ids) == 1 for ids in (*pairs.answer_sets, *pairs.wrong_sets))
    return "logit-difference" if single else "probability-difference"
