"""What the induction analysis says, in words and headline numbers."""

from dataclasses import dataclass

import pandas as pd
from jaxtyping import Int
from torch import Tensor

from interp.in_context import in_context_learning_score, next_token_losses
from interp.statistics import over_prompts
from models import HookedTransformer

from .head_tables import nulls
from .induction_circuit import Circuit, names
from .induction_claims import Role, change, does, is_fed, repetition, role
from .induction_runs import CLEAN, control, path

EARLY = 10
"""Olsson et al. compare token 500 with token 50; where a text is shorter, its last with a tenth of it."""

SHORTEST_TEXT = 20


@dataclass(frozen=True)
class Found:
    """Everything the verdict is made of.

    Attributes:
        circuit: the heads.
        scores: of all heads, both kinds.
        compositions: K-composition of every earlier head with each induction head.
        ablations: one row a condition.
        on_text: the in-context-learning score on the prompts, as a sentence.
        tokens: the sequences in words.
        rotary: whether queries and keys are rotated by their distance, which the compositions leave out.
        remarks: how the weights were folded, and what could not be run.
    """

    circuit: Circuit
    scores: pd.DataFrame
    compositions: pd.DataFrame
    ablations: pd.DataFrame
    on_text: str
    tokens: str
    rotary: bool
    remarks: str

    def ablation(self, name: str) -> pd.Series:
        """The row of a condition."""
        return self.ablations.set_index("ablated").loc[name]

    def has(self, name: str) -> bool:
        """Whether the condition was run."""
        return name in set(self.ablations["ablated"])

    def best(self, kind: str, heads: list[str]) -> pd.Series:
        """The row of the one of these heads with the highest score."""
        rows = self.scores[(self.scores["kind"] == kind) & self.scores["head"].isin(heads)]
        return rows.loc[rows["score"].idxmax()]

    def composition(self) -> pd.Series | None:
        """The strongest K-composition of a previous-token head with an induction head.

        None where one of the two is always a head of zeros, which composes with nothing.
        """
        rows = self.compositions[self.compositions["writer_is_previous_token"]].dropna(subset="z")
        return rows.loc[rows["z"].idxmax()] if len(rows) else None

    def rival(self, pair: pd.Series) -> pd.Series | None:
        """The strongest K-composition of any other earlier head with the same induction head."""
        rows = self.compositions[~self.compositions["writer_is_previous_token"]].dropna(subset="z")
        rows = rows[rows["reader"] == pair["reader"]]
        return rows.loc[rows["score"].idxmax()] if len(rows) else None

    @property
    def control(self) -> pd.Series | None:
        """The row of the control that is set beside the induction heads; None where there are no other heads."""
        return self.ablation(self.other_heads) if self.has(self.other_heads) else None

    @property
    def role(self) -> Role:
        """What the ablations allow to be said of the induction heads."""
        return role(self.ablation(CLEAN), self.ablation(self.circuit.induction_name), self.control)

    @property
    def other_heads(self) -> str:
        """The name of the control that is set beside the induction heads."""
        return control(len(self.circuit.induction))


def numbers(found: Found) -> dict[str, float | int | str]:
    """The headline numbers."""
    pair = found.composition()
    heads = found.circuit
    values: dict[str, float | int | str] = {
        "induction_heads": len(heads.induction) if heads.found_induction else 0,
        "best_prefix_matching_score": float(_half(found, "induction")["score"]),
        "best_previous_token_score": float(_half(found, "previous token")["score"]),
        "gain_nats": float(found.ablation(CLEAN)["gain_nats"]),
    }
    if not heads.found_induction:
        return values
    values["gain_without_induction_heads_nats"] = float(found.ablation(heads.induction_name)["gain_nats"])
    if heads.found_previous:
        values["gain_without_previous_token_heads_nats"] = float(found.ablation(heads.previous_name)["gain_nats"])
    if pair is not None:
        values["k_composition_z"] = float(pair["z"])
    if found.has(found.other_heads):
        values["gain_without_other_heads_nats"] = float(found.ablation(found.other_heads)["gain_nats"])
    return values


def headline(found: Found) -> str:
    """The finding as one clause."""
    heads, clean = found.circuit, found.ablation(CLEAN)
    if not heads.found_induction:
        return f"there are no induction heads, and {repetition(clean)}"
    n = len(heads.induction)
    more = f" and {n - 3} more" if n > 3 else ""
    said = f"continue{'s' * (n == 1)} what was seen before" if found.role is Role.MAKES else does(found.role, n)
    return (
        f"{heads.induction_name} {names(heads.induction[:3])}{more} {said}: {repetition(clean)}, ablating "
        f"{'it' if n == 1 else 'them'} {change(found.ablation(heads.induction_name))}, {_control(found)}"
    )


def verdict(found: Found) -> str:
    """The circuit in one sentence, or that there is none; then each part with its numbers."""
    parts = [_finding(found), _halves(found), _composition(found), _ablations(found), _paths(found)]
    parts += [found.on_text, f"Measured on {found.tokens}. {found.remarks}"]
    return "\n".join(part for part in parts if part)


def text_score(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> str:
    """The in-context-learning score on the prompts, as a sentence; empty for prompts that are too short."""
    late = tokens.shape[1] - 1
    if late < SHORTEST_TEXT or len(tokens) < 2:
        return ""
    early = max(1, late // EARLY)
    score = over_prompts(in_context_learning_score(next_token_losses(model, tokens), early, late))
    return (
        f"On the prompts themselves the loss on token {late} less that on token {early} is {float(score.mean):+.2f} "
        f"nats ({float(score.low):.2f} to {float(score.high):.2f}, {len(tokens)} prompts; negative: context helps)."
    )


def _finding(found: Found) -> str:
    heads, clean, without = found.circuit, found.ablation(CLEAN), found.ablation(found.circuit.induction_name)
    if not heads.found_induction:
        best = _half(found, "induction")
        return (
            f"There are no induction heads: the highest prefix-matching score is {best['score']:.2f} of "
            f"{best['head']} (null {best['null']:.2f}), and {repetition(clean)}."
        )
    n = len(heads.induction)
    dearer = " (the second copy then costs more than the first)" if without["gain_nats_high"] < 0 else ""
    return (
        f"{n} induction head{'s' * (n > 1)} ({names(heads.induction)}), {_feeds(found)}, {does(found.role, n)}: "
        f"{repetition(clean)}, ablating {'it' if n == 1 else 'them'} {change(without)} and leaves "
        f"{_gain(without)}{dearer}, {_control(found)}."
    )


def _feeds(found: Found) -> str:
    heads = found.circuit
    if not heads.found_previous:
        return "with no previous-token head above the threshold before"
    hidden = found.ablation(path(heads, "k")) if found.has(path(heads, "k")) else None
    if is_fed(found.ablation(CLEAN), hidden, found.composition()):
        return f"fed by {names(heads.previous)}"
    return f"with {names(heads.previous)} as the nearest {heads.previous_name}"


def _control(found: Found) -> str:
    others, n = found.control, len(found.circuit.others)
    if others is None:
        return "and there are no other heads for a control"
    enough = n >= len(found.circuit.induction)
    return f"ablating {'as many others at random' if enough else f'the {n} others'} {change(others, 'it')}"


def _halves(found: Found) -> str:
    sentences = []
    for kind, heads, known in (
        ("previous token", found.circuit.previous, found.circuit.found_previous),
        ("induction", found.circuit.induction, found.circuit.found_induction),
    ):
        rows = found.scores[found.scores["kind"] == kind].set_index("head")
        scores = ", ".join(
            f"{name} {rows['score'][name]:.2f} ({rows['low'][name]:.2f} to {rows['high'][name]:.2f})"
            for name in names(heads).split(", ")
        )
        named = rows.loc[names(heads).split(", ")]
        needed = named["needed"].iloc[0]
        said = "" if known else f"; none reaches what it takes (here {needed:.2f}), and the nearest stands in below"
        sentences.append(f"{kind.capitalize()}: {scores}, where even attention gives {nulls(named)}{said}.")
    return "\n".join(sentences)


def _composition(found: Found) -> str:
    pair = found.composition()
    if pair is None:
        return (
            f"There is no K-composition of {names(found.circuit.previous)} with {names(found.circuit.induction)}: what "
            "the first write, or the queries or keys of the second, are zero."
        )
    other = found.rival(pair)
    if other is None:
        beside = "there is no other earlier head to compare it with"
    elif pair["score"] > other["score"]:
        beside = (
            f"{pair['score'] / other['score']:.2f} times that of the strongest other earlier head, {_scored(other)}"
        )
    else:
        beside = f"no more than that of another earlier head, {_scored(other)}"
    rotated = " Its matrices are those of distance zero: the rotation by distance is left out." if found.rotary else ""
    return (
        f"K-composition of {pair['writer']} with {pair['reader']}: {pair['score']:.3f}, {beside}; a random rotation "
        f"gives {pair['null_low']:.3f} to {pair['null_high']:.3f} (z = {pair['z']:.1f}), which most pairs of a trained "
        f"model exceed.{rotated}"
    )


def _scored(row: pd.Series) -> str:
    return f"{row['writer']} ({row['score']:.3f})"


def _ablations(found: Found) -> str:
    heads = found.circuit
    said = f"Ablating the {heads.previous_name} leaves a gain of {_gain(found.ablation(heads.previous_name))}"
    if not heads.found_induction:
        both = f"the {heads.induction_name} {_gain(found.ablation(heads.induction_name))}"
        return f"{said}, ablating {both}."
    same_number = control(len(heads.previous))
    if not found.has(same_number):
        return f"{said}; there are no other heads for a control."
    others = found.ablation(same_number)
    low, high = others["least_gain_of_draws_nats"], others["most_gain_of_draws_nats"]
    return f"{said}, ablating as many others at random {_gain(others)}; their draws reach from {low:.2f} to {high:.2f}."


def _paths(found: Found) -> str:
    heads = found.circuit
    if not found.has(path(heads, "k")) or not heads.found_induction:
        return ""
    keys, queries, values = (_gain(found.ablation(path(heads, letter))) for letter in "kqv")
    return (
        f"Hiding the {heads.previous_name} from the keys of the {heads.induction_name} alone leaves a gain of {keys}, "
        f"from the queries alone {queries}, from the values alone {values}."
    )


def _half(found: Found, kind: str) -> pd.Series:
    heads = found.circuit.previous if kind == "previous token" else found.circuit.induction
    return found.best(kind, names(heads).split(", "))


def _gain(row: pd.Series) -> str:
    return f"{row['gain_nats']:.2f} ({row['gain_nats_low']:.2f} to {row['gain_nats_high']:.2f})"
