"""The analyses run one after the other; one that fails leaves its reason, and the rest still run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from .. import exit_codes, prompt_pair
from ..catalogue import ANALYSES, analysis
from ..errors import InvalidResultError, NotApplicableError
from ..manifest import manifest
from ..model_source import ModelSource
from ..prompts import Prompts
from ..rendering import require_valid
from .architecture import architecture, shape, training
from .panels import Panel, Part, Report
from .prediction import prediction
from .summary import Subject, summary

COMPARED = ("logit-lens",)
"""The analyses that read one prompt at a time, so that a pair is shown side by side."""

PAIRED = ("patching",)
"""The analyses that are about a pair: an option of theirs says that the two prompts are one."""


def build(
    model: Any,
    source: ModelSource,
    prompts: Prompts,
    paired: bool = False,
    on_panel: Callable[[str], None] = lambda name: None,
    names: Sequence[str] | None = None,
) -> Report:
    """The report on the model; with `paired`, the first prompt is the clean and the second the corrupted one.

    Args:
        names: the analyses that are run, in this order; all of them by default.
    """
    panels = answers(model, prompts.tokens, paired, on_panel, names)
    return Report(
        source.name,
        {source.name: architecture(model) | training(source)},
        tuple(panels),
        manifest(model, source, prompts),
        summary([subject(source.name, model, source, prompts)], panels, prompts.origin),
    )


def subject(name: str, model: Any, source: ModelSource, prompts: Prompts) -> Subject:
    """What the summary says of the model itself."""
    return Subject(name, shape(model), prediction(model, source, prompts.tokens))


def answers(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    paired: bool,
    on_panel: Callable[[str], None],
    names: Sequence[str] | None = None,
) -> list[Panel]:
    """The panels on one model."""
    panels = [answer("prompt-pair", prompt_pair, model, [("", tokens)], on_panel)] if paired else []
    for name in ANALYSES if names is None else names:
        rows = [("", tokens)]
        if paired and name in COMPARED:
            rows = [("Clean", tokens[:1]), ("Corrupted", tokens[1:])]
        module = analysis(name)
        options = module.Options(paired=True) if paired and name in PAIRED else None
        panels.append(answer(name, module, model, rows, on_panel, options))
    return panels


def answer(
    name: str,
    module: Any,
    model: Any,
    rows: list[tuple[str, Int[Tensor, "batch pos"]]],
    on_panel: Callable[[str], None],
    options: Any = None,
) -> Panel:
    """The panel of one analysis: a part for each row, by its label; a failure is one of them."""
    on_panel(name)
    options = options or module.Options()
    start = time.perf_counter()
    parts = tuple(_part(label, module, model, tokens, options) for label, tokens in rows)
    return Panel(name, parts, asdict(options), time.perf_counter() - start)


def _part(label: str, module: Any, model: Any, tokens: Int[Tensor, "batch pos"], options: Any) -> Part:
    result = None
    try:
        with torch.no_grad():
            result = module.run(model, tokens, options)
        require_valid(result)
    except NotApplicableError as error:
        return Part(label, not_applicable=str(error))
    except Exception as error:
        failure = str(error) if isinstance(error, InvalidResultError) else f"{type(error).__name__}: {error}"
        return Part(label, result, failure, exit_codes.exit_code(error))
    return Part(label, result)
