"""The summary: five whole sentences whatever the panels hold, and not a number in them that no panel gave."""

import re
from dataclasses import replace
from itertools import product
from math import log, nan

import pandas as pd
import pytest
import torch

from analyses.model_source import resolved
from analyses.report import Panel, Part
from analyses.report.prediction import Prediction, prediction
from analyses.report.summary import Subject, clause, summary
from analyses.result import Identity, Result
from models.loss import next_token_loss
from tests.conftest import order_one_model, random_tokens

PREDICTION = Prediction(3.0, 2.5, 3.5, 12, (), 17, None, None, "")
HEADS = Result("heads", "Heads", "?", "L0H3 looks at the token before. More.\nA detail.", {}, {"t": pd.DataFrame()})
NAMES = ("induction", "heads", "modular-addition", "circuits", "logit-lens", "attribution", "ablation", "patching")


def subject(**changes):
    return Subject("tiny", "a model of 2 blocks", replace(PREDICTION, **changes))


def texts(panels, subjects=None):
    return [sentence.text for sentence in summary(subjects or [subject()], panels, "12 prompts")]


def panel_of(kind, name):
    parts = {
        "answered": Part("", replace(HEADS, name=name, title=name, verdict=f"The {name} found it.")),
        "invalid": Part("", replace(HEADS, name=name, verdict="Wrong."), failure="off", code=4),
        "failed": Part("", failure="ValueError: no", code=1),
        "not asked": Part("", not_applicable="it has none"),
    }
    return Panel(name, (parts[kind],))


def test_the_summary_is_five_whole_sentences_whatever_is_missing():
    kinds = ("answered", "invalid", "failed", "not asked")
    for mechanism, lens, needs in product(kinds, repeat=3):
        chosen = (mechanism, mechanism, mechanism, mechanism, lens, lens, needs, needs)
        said = texts([panel_of(kind, name) for kind, name in zip(chosen, NAMES, strict=True)])
        assert len(said) == 5
        assert all(re.fullmatch(r"\S.*[^\s.;,]\.", text) for text in said), said
        assert "Wrong" not in " ".join(said)
        assert "None" not in " ".join(said)
    assert len(texts([])) == 5


def test_each_sentence_is_of_its_panels_and_an_unanswered_one_says_why():
    panels = [panel_of("answered", name) for name in NAMES]
    said = texts(panels)
    assert said[1] == "The modular-addition found it; the induction found it; the heads found it."
    assert said[2] == "The logit-lens found it; the attribution found it."
    assert said[3] == "The ablation found it; the patching found it."
    only_circuits = texts([panel_of("failed", "heads"), panel_of("answered", "circuits")])
    assert only_circuits[1] == "The circuits found it."
    assert only_circuits[4].count("no valid result came from “Heads”") == 1
    unasked = texts([panel_of("not asked", "heads"), panel_of("failed", "induction")])
    assert unasked[1] == (
        "Nothing can be said, because “Induction” gave no valid result; “Heads” cannot be asked of this model (it has "
        "none)."
    )
    assert unasked[2] == "Nothing can be said, because no panel of this report asks that."
    assert "not asked: “Heads”" in unasked[4]


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        ("Half of it is gone. More is not.", "half of it is gone"),
        ("A head copies.", "a head copies"),
        ("L1H0 copies 3.5 times.", "L1H0 copies 3.5 times"),
        ("KL is 2.", "KL is 2"),
        ("Q-composition wins.", "Q-composition wins"),
        ("7 of 16 heads copy.", "7 of 16 heads copy"),
    ],
)
def test_a_finding_becomes_a_clause(finding, said):
    assert clause(replace(HEADS, verdict=f"{finding}\nA detail.")) == said
    assert clause(replace(HEADS, verdict=finding, headline="it copies.")) == "it copies"


def test_the_loss_stands_beside_what_guessing_costs():
    first = texts([])[0]
    assert "its loss is 3.00 nats per token (2.50 to 3.50), where guessing evenly costs ln 17 = 2.83" in first
    assert "no better than guessing" in first
    good = texts([], [subject(loss=1.0, frequencies=2.0, held_out=(1.25, 0.125))])[0]
    assert "no better than guessing" not in good
    assert "frequency 2.00 (its card says 1.25 ± 0.12 over all held-out text)" in good
    assert "no better than guessing" in texts([], [subject(loss=2.5, frequencies=2.0)])[0]
    assert "(nan" not in texts([], [subject(low=nan, high=nan)])[0]
    assert "is 7.7e-06 nats per token (7e-06 to 8e-06)" in texts([], [subject(loss=7.7e-6, low=7e-6, high=8e-6)])[0]
    assert "at position 2 is" in texts([], [subject(at=(2,))])[0]
    assert "looks ahead" in texts([], [subject(no_loss_because="its attention looks ahead")])[0]
    assert "not a finite number" in texts([], [subject(loss=nan)])[0]


def test_the_last_sentence_counts_what_holds_and_names_the_worst():
    held, worse = Identity("the sum is whole", 1e-9, 1e-5), Identity("the rows are one", 4e-6, 1e-5)
    broken = Identity("twice is double", nan, 1e-5)
    panels = [Panel("heads", (Part("", replace(HEADS, identities=(held, worse))),))]
    assert (
        "all 2 hold; the worst, “the rows are one”, is off by 4.0e-06, where rounding explains 1e-05"
        in texts(panels)[4]
    )
    panels.append(Panel("circuits", (Part("", replace(HEADS, identities=(broken,)), failure="off", code=4),)))
    last = texts(panels)[4]
    assert "only 2 of 3 hold; the worst, “twice is double”, is off by nan" in last
    assert "no identity was measured" in texts([])[4].lower()
    assert "intervals are 95 % over 12 prompts, or over what a panel names." in texts([])[4]
    assert "which are few" in texts([], [subject(n_prompts=8)])[4]
    assert "no interval" in texts([], [subject(n_prompts=1)])[4]


def test_two_models_are_told_apart():
    panels = [Panel("heads", (Part("tiny", HEADS), Part("other", replace(HEADS, headline="none copies"))))]
    panels.append(Panel("difference", (Part("", replace(HEADS, verdict="They differ by 2 nats.")),)))
    said = texts(panels, [subject(), replace(subject(), name="other")])
    assert len(said) == 5
    assert said[0].startswith("tiny is a model of 2 blocks; its loss")
    assert "; other is a model" in said[0]
    assert said[1] == "They differ by 2 nats."
    assert said[2] == "tiny: L0H3 looks at the token before; other: none copies."


def test_the_prediction_is_the_models_own_loss(model_folder):
    model, tokens = order_one_model(), random_tokens(batch=5)
    found = prediction(model, resolved(str(model_folder)), tokens)
    assert found.loss == pytest.approx(float(next_token_loss(model(tokens), tokens).detach()), rel=1e-12)
    assert found.low < found.loss < found.high
    assert (found.n_prompts, found.d_vocab, found.held_out) == (5, 17, None)
    assert torch.tensor(prediction(model, resolved(str(model_folder)), tokens[:1]).low).isnan()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"d_vocab_out": 5}, "predicts another vocabulary"), ({"attention_dir": "bidirectional"}, "looks ahead")],
)
def test_a_model_that_does_not_predict_the_next_token_has_a_sentence_and_no_loss(model_folder, changes, reason):
    found = prediction(order_one_model(**changes), resolved(str(model_folder)), random_tokens())
    assert torch.tensor([found.loss, found.low, found.high]).isnan().all()
    said = texts([], [replace(subject(), prediction=found)])[0]
    assert reason in said
    assert "a loss on the next token would say nothing" in said
    assert found.chance == log(changes.get("d_vocab_out", 17))
