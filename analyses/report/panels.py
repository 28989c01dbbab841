"""What a report holds: panels with their results, or with the reason why there are none."""

from dataclasses import asdict, dataclass, field
from typing import Any

from .. import exit_codes
from ..rendering import as_dict as result_as_dict
from ..result import Identity, Result


@dataclass(frozen=True)
class Part:
    """One answer of a panel, or the reason why there is none.

    Attributes:
        label: which prompt or model it is of, if there are several.
        result: the answer; missing if the analysis failed or could not be asked.
        failure: what went wrong; beside a result: why it is not valid.
        code: the exit code of what went wrong.
        not_applicable: why the question cannot be asked of this model.
    """

    label: str
    result: Result | None = None
    failure: str | None = None
    code: int = exit_codes.OK
    not_applicable: str | None = None

    @property
    def said(self) -> str:
        """The finding, the reason why there is none, or both, in a sentence or two."""
        sentences = [self.result.finding] if self.result else []
        if self.not_applicable is not None:
            sentences.append(f"Not asked of this model: {self.not_applicable}.")
        return " ".join([*sentences, self.failed]).strip()

    @property
    def failed(self) -> str:
        """What went wrong, as a sentence; empty if nothing did."""
        if self.failure is None:
            return ""
        return f"{'This result is not valid' if self.result else 'This analysis gave no result'}: {self.failure}."


@dataclass(frozen=True)
class Panel:
    """One question and its answers."""

    name: str
    parts: tuple[Part, ...]
    options: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def results(self) -> list[Result]:
        """The answers that there are."""
        return [part.result for part in self.parts if part.result]

    @property
    def title(self) -> str:
        """The heading."""
        return self.results[0].title if self.results else self.name.replace("-", " ").capitalize()

    @property
    def not_asked(self) -> bool:
        """Whether the question could be asked of none of its prompts and models."""
        return all(part.not_applicable is not None for part in self.parts)

    @property
    def finding(self) -> str:
        """The answers in a sentence or two each, or the reasons why there are none."""
        return " ".join(f"{part.label}: {part.said}" if part.label else part.said for part in self.parts)

    @property
    def identities(self) -> list[Identity]:
        """What backs the numbers of all its results."""
        return [identity for result in self.results for identity in result.identities]

    @property
    def side_by_side(self) -> list[tuple[str, list[Any], float | int | None]]:
        """Each headline number with its value in every answer; of two answers also the second less the first.

        Empty if there is one answer only.
        """
        results = self.results
        if len(results) < 2:
            return []
        names = dict.fromkeys(name for result in results for name in result.numbers)
        rows = [(name, [result.numbers.get(name) for result in results]) for name in names]
        return [(name, values, _difference(values)) for name, values in rows]


def _difference(values: list[Any]) -> float | int | None:
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return values[1] - values[0] if numeric and len(values) == 2 else None


@dataclass(frozen=True)
class Sentence:
    """One sentence of the summary, and in a few words what it is about."""

    about: str
    text: str


@dataclass(frozen=True)
class Report:
    """Everything on the page.

    Attributes:
        model: the heading: the model, or the two that are compared.
        architecture: what each model is made of, by the model's name.
        panels: the questions in the order of the page.
        manifest: what is needed to repeat it.
        summary: what was found, a sentence each.
    """

    model: str
    architecture: dict[str, dict[str, str]]
    panels: tuple[Panel, ...]
    manifest: dict[str, Any]
    summary: tuple[Sentence, ...] = ()

    @property
    def asked(self) -> list[Panel]:
        """The panels whose question could be asked."""
        return [panel for panel in self.panels if not panel.not_asked]

    @property
    def exit_code(self) -> int:
        """0, or 5 if an answer is missing, or 4 if one is not valid; if all are missing, the first one's own code."""
        parts = [part for panel in self.asked for part in panel.parts if part.not_applicable is None]
        missing = [part.code for part in parts if not part.result]
        if missing:
            return exit_codes.PARTIAL if len(missing) < len(parts) else missing[0]
        return max((part.code for part in parts), default=exit_codes.OK)


def as_dict(report: Report) -> dict[str, Any]:
    """The report in JSON's own types, without pictures."""
    return {
        "model": report.model,
        "summary": [asdict(sentence) for sentence in report.summary],
        "architecture": report.architecture,
        "panels": [_panel_as_dict(panel) for panel in report.panels],
        "manifest": report.manifest,
    }


def _panel_as_dict(panel: Panel) -> dict[str, Any]:
    parts = [
        {
            "label": part.label,
            "result": result_as_dict(part.result) if part.result else None,
            "failure": part.failure,
            "not_applicable": part.not_applicable,
        }
        for part in panel.parts
    ]
    return {"name": panel.name, "parts": parts, "options": panel.options, "seconds": panel.seconds}
