"""The analyses run one after the other; one that fails leaves its reason, and the rest still run."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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
from ..rendering import as_dict as result_as_dict
from ..rendering import require_valid
from ..result import Result
from .architecture import architecture, training

COMPARED = ("logit-lens",)
"""The analyses that read one prompt at a time, so that a pair is shown side by side."""


@dataclass(frozen=True)
class Part:
    """One result of a panel; the label says which prompt it is of, if there are several."""

    label: str
    result: Result


@dataclass(frozen=True)
class Panel:
    """One question: its results, or the reason why there are none."""

    name: str
    parts: tuple[Part, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    failure: str | None = None
    code: int = exit_codes.OK
    not_applicable: str | None = None

    @property
    def title(self) -> str:
        """The heading."""
        return self.parts[0].result.title if self.parts else self.name

    @property
    def failed(self) -> str:
        """What went wrong, as a sentence; empty if nothing did."""
        if self.failure is None:
            return ""
        return f"{'This result is not valid' if self.parts else 'This analysis gave no result'}: {self.failure}."

    @property
    def finding(self) -> str:
        """The answer in a sentence or two, or the reason why there is none."""
        if self.not_applicable is not None:
            return f"Not asked of this model: {self.not_applicable}."
        said = [f"{part.label}: {part.result.finding}" if part.label else part.result.finding for part in self.parts]
        return " ".join([*said, self.failed]).strip()


@dataclass(frozen=True)
class Report:
    """Everything on the page."""

    model: str
    architecture: dict[str, str]
    panels: tuple[Panel, ...]
    manifest: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """0, or 5 if a panel is missing, or 4 if one is not valid; if all are missing, the first one's own code."""
        asked = [panel for panel in self.panels if panel.not_applicable is None]
        missing = [panel.code for panel in asked if not panel.parts]
        if missing:
            return exit_codes.PARTIAL if len(missing) < len(asked) else missing[0]
        return max((panel.code for panel in asked), default=exit_codes.OK)


def build(
    model: Any,
    source: ModelSource,
    prompts: Prompts,
    paired: bool = False,
    on_panel: Callable[[str], None] = lambda name: None,
) -> Report:
    """The report on the model; with `paired`, the first prompt is the clean and the second the corrupted one."""
    panels = [_panel("prompt-pair", prompt_pair, model, [("", prompts.tokens)], on_panel)] if paired else []
    for name in ANALYSES:
        rows = [("", prompts.tokens)]
        if paired and name in COMPARED:
            rows = [("Clean", prompts.tokens[:1]), ("Corrupted", prompts.tokens[1:])]
        panels.append(_panel(name, analysis(name), model, rows, on_panel))
    record = manifest(model, source, prompts)
    return Report(source.name, architecture(model) | training(source), tuple(panels), record)


def as_dict(report: Report) -> dict[str, Any]:
    """The report in JSON's own types, without pictures."""
    return {
        "model": report.model,
        "architecture": report.architecture,
        "panels": [
            {
                "name": panel.name,
                "parts": [{"label": part.label, "result": result_as_dict(part.result)} for part in panel.parts],
                "options": panel.options,
                "seconds": panel.seconds,
                "failure": panel.failure,
                "not_applicable": panel.not_applicable,
            }
            for panel in report.panels
        ],
        "manifest": report.manifest,
    }


def _panel(
    name: str,
    module: Any,
    model: Any,
    rows: list[tuple[str, Int[Tensor, "batch pos"]]],
    on_panel: Callable[[str], None],
) -> Panel:
    on_panel(name)
    options = module.Options()
    start = time.perf_counter()
    parts: tuple[Part, ...] = ()
    failure, code = None, exit_codes.OK
    try:
        with torch.no_grad():
            parts = tuple(Part(label, module.run(model, tokens, options)) for label, tokens in rows)
        for part in parts:
            require_valid(part.result)
    except NotApplicableError as error:
        return Panel(name, (), asdict(options), time.perf_counter() - start, not_applicable=str(error))
    except Exception as error:
        failure = str(error) if isinstance(error, InvalidResultError) else f"{type(error).__name__}: {error}"
        code = exit_codes.exit_code(error)
    return Panel(name, parts, asdict(options), time.perf_counter() - start, failure, code)
