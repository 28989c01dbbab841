"""From a recipe to a folder that loads, with a card whose numbers can be found again."""

import json
from dataclasses import replace

import pytest
import torch

from models import HookedTransformer
from models.errors import TrainingError
from models.fitting import CHECKPOINT
from models.training import train

from .test_fitting import CORPUS, RECIPE

SHORT = replace(RECIPE, steps=20, evaluate_every=10)
LONG_TEXTS = replace(
    CORPUS,
    held_out=tuple(replace(document, text=document.text * 12) for document in CORPUS.held_out),
)


@pytest.fixture
def tiny_library(monkeypatch):
    monkeypatch.setattr("models.training.standard_library", lambda: LONG_TEXTS)


def test_a_folder_with_model_and_card_comes_out(tiny_library, tmp_path):
    trained = train(SHORT, tmp_path / "tiny")
    names = {path.name for path in (tmp_path / "tiny").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "card.md", "card.json", "sample.txt"}
    loaded = HookedTransformer.from_pretrained_no_processing(tmp_path / "tiny", device="cpu")
    tokens = loaded.to_tokens("value_3 = ")
    assert torch.equal(loaded(tokens), trained.model(tokens))
    facts = json.loads((tmp_path / "tiny" / "card.json").read_text())
    assert facts["held_out"]["nats_per_token"]["mean"] == trained.held_out.nats_per_token.mean
    assert f"{trained.held_out.nats_per_token.mean:.3f} ±" in (tmp_path / "tiny" / "card.md").read_text()
    assert facts["corpus"]["sha256"] == LONG_TEXTS.sha256


def test_a_finished_model_is_not_overwritten_and_a_stopped_run_goes_on(tiny_library, tmp_path):
    def stop(progress):
        if progress.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SHORT, tmp_path, stop)
    assert (tmp_path / CHECKPOINT).exists()
    steps = []
    train(SHORT, tmp_path, steps.append)
    assert steps[0].step == 9
    assert not (tmp_path / CHECKPOINT).exists()
    with pytest.raises(TrainingError, match="already holds a model"):
        train(SHORT, tmp_path)
