"""What was found, in five sentences that are made of the results: nothing in them is said that no panel says."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..result import Identity, Result
from .panels import Panel, Sentence
from .prediction import Prediction

MECHANISMS = ("modular-addition", "induction", "heads")
FORMS = ("logit-lens", "attribution")
NEEDS = ("ablation", "patching")
_INSTEAD = {MECHANISMS: "circuits", NEEDS: "residual-ablation"}
"""What speaks for a topic when none of its panels can."""
_FEW = 10
"""Prompts below which a percentile bootstrap is too narrow."""


@dataclass(frozen=True)
class Subject:
    """A model that the report is on.

    Attributes:
        name: as the report calls it.
        shape: what it is, as words that follow "is" ("a model of 4 blocks …").
        prediction: how well it predicts.
    """

    name: str
    shape: str
    prediction: Prediction


def summary(subjects: Sequence[Subject], panels: Sequence[Panel], prompts: str) -> tuple[Sentence, ...]:
    """Five sentences: what it is, its mechanisms, where the prediction forms, what it needs, and how sure that is.

    With two subjects the second says how they differ, and the fourth where their predictions form and what they need.

    Args:
        prompts: what was read, in words.
    """
    by_name = {panel.name: panel for panel in panels}
    topics: dict[str, tuple[str, ...]] = {
        "Mechanisms": MECHANISMS,
        "Where the prediction forms": FORMS,
        "What it cannot do without": NEEDS,
    }
    if len(subjects) > 1:
        topics = {
            "How they differ": ("difference",),
            "Mechanisms": MECHANISMS,
            "Where the predictions form, and what they need": FORMS + NEEDS,
        }
    said = {
        "What it is" if len(subjects) == 1 else "What they are": _predicts(subjects, prompts),
        **{about: _topic(by_name, names) for about, names in topics.items()},
        "How far to trust this": _trust(panels, subjects[0].prediction.n_prompts),
    }
    names = tuple(subject.name for subject in subjects)
    return tuple(Sentence(about, _sentence(text, names)) for about, text in said.items())


def _predicts(subjects: Sequence[Subject], prompts: str) -> str:
    said = [f"{subject.name} is {subject.shape}; {_loss(subject.prediction)}" for subject in subjects]
    return f"{'; '.join(said)}, on {prompts}"


def _loss(prediction: Prediction) -> str:
    if prediction.no_loss_because:
        return f"{prediction.no_loss_because}, so that a loss on the next token would say nothing"
    if not math.isfinite(prediction.loss):
        return "its loss is not a finite number"
    interval = f" ({_nats(prediction.low)} to {_nats(prediction.high)})" if math.isfinite(prediction.low) else ""
    place = f" at position {', '.join(map(str, prediction.at))}" if prediction.at else ""
    said = (
        f"its loss{place} is {_nats(prediction.loss)} nats per token{interval}, where guessing evenly costs "
        f"ln {prediction.d_vocab} = {prediction.chance:.2f}"
    )
    if prediction.frequencies is not None:
        said += f" and knowing only each token's frequency {prediction.frequencies:.2f}"
    if prediction.held_out is not None:
        said += f" (its card says {prediction.held_out[0]:.3g} ± {prediction.held_out[1]:.2g} over all held-out text)"
    best = min(prediction.chance, prediction.frequencies if prediction.frequencies is not None else math.inf)
    if not prediction.loss < best:
        said += ", so that it does no better than guessing"
    return said


def _nats(value: float) -> str:
    # A loss of 8e-06 is not 0.00.
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _topic(panels: Mapping[str, Panel], names: tuple[str, ...]) -> str:
    """What the panels of these names found; without any finding, why there is none."""
    there = [panels[name] for name in names if name in panels]
    clauses = [clause for panel in there for clause in _clauses(panel)]
    if not clauses and _INSTEAD.get(names) in panels:
        clauses = _clauses(panels[_INSTEAD[names]])
    if clauses:
        return "; ".join(clauses)
    reasons = [
        f"“{panel.title}” cannot be asked of this model ({panel.parts[0].not_applicable})"
        if panel.not_asked
        else f"“{panel.title}” gave no valid result"
        for panel in there
    ]
    return f"nothing can be said, because {'; '.join(reasons) or 'no panel of this report asks that'}"


def _clauses(panel: Panel) -> list[str]:
    valid = [(part.label, part.result) for part in panel.parts if part.result and part.failure is None]
    said = [clause(result) for _, result in valid]
    if len(said) > 1 and len(set(said)) == 1:
        return [f"both alike: {said[0]}"]
    return [f"{label}: {each}" if label else each for (label, _), each in zip(valid, said, strict=True)]


def clause(result: Result) -> str:
    """The finding as a clause: the result's own headline, else its finding's first sentence, to stand after another."""
    if result.headline:
        return result.headline.rstrip(". ")
    first = re.split(r"(?<=[.!?])\s+(?=[A-Z“])", result.finding)[0].rstrip(". ")
    word = re.match(r"[^\W\d_]+", first)
    # "Half of …" loses its capital in the middle of a sentence, "L1H0", "KL" and "Q-composition" do not.
    lowers = word is not None and (word[0] == "A" or word[0][1:].islower()) and not first[word.end() :].startswith("-")
    return first[:1].lower() + first[1:] if lowers else first


def _trust(panels: Sequence[Panel], n_prompts: int) -> str:
    measured = [identity for panel in panels for identity in panel.identities]
    said = [_backing(measured)]
    failed = [panel.title for panel in panels if any(part.failure is not None for part in panel.parts)]
    if failed:
        said.append(f"no valid result came from {_listed(failed)}")
    unasked = [panel.title for panel in panels if panel.not_asked]
    if unasked:
        said.append(f"not asked: {_listed(unasked)}")
    if n_prompts == 1:
        said.append("with one prompt there is no interval over prompts")
    else:
        few = ", which are few, so that they are rather too narrow" if n_prompts < _FEW else ""
        said.append(f"intervals are 95 % over {n_prompts} prompts, or over what a panel names{few}")
    return "; ".join(said)


def _backing(measured: Sequence[Identity]) -> str:
    if not measured:
        return "no identity was measured in this run, so that nothing in it backs the numbers"
    worst = max(measured, key=lambda identity: _excess(identity))
    n_held = sum(identity.holds for identity in measured)
    held = f"all {len(measured)} hold" if n_held == len(measured) else f"only {n_held} of {len(measured)} hold"
    return (
        f"of the identities that back the numbers {held}; the worst, “{worst.statement}”, is off by "
        f"{worst.error:.1e}, where rounding explains {worst.tolerance:.0e}"
    )


def _excess(identity: Identity) -> float:
    if math.isnan(identity.error):
        return math.inf
    if identity.tolerance == 0:
        return math.inf if identity.error > 0 else 0.0
    return identity.error / identity.tolerance


def _listed(titles: Sequence[str]) -> str:
    return ", ".join(f"“{title}”" for title in titles)


def _sentence(text: str, names: tuple[str, ...]) -> str:
    # A name keeps its case.
    return f"{text if text.startswith(names) else text[:1].upper() + text[1:]}."
