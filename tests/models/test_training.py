"""From a recipe to a folder that loads, with a card whose numbers can be found again."""

import json
from dataclasses import replace

import pytest
import torch

from models import HookedTransformer
from models.addition import answered_right
from models.errors import TrainingError
from models.evaluation import held_out_loss
from models.fitting import CHECKPOINT
from models.training import train

from .test_fitting import ADDITION, CORPUS, RECIPE

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
    held_out = held_out_loss(trained.model, trained.data.held_out).nats_per_token.mean
    assert facts["held_out"]["nats_per_token"]["mean"] == held_out
    assert f"{held_out:.3f} ±" in (tmp_path / "tiny" / "card.md").read_text()
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


def test_a_model_of_sums_comes_out_with_its_card_and_prompts(tmp_path):
    trained = train(ADDITION, tmp_path / "sums")
    names = {path.name for path in (tmp_path / "sums").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "card.md", "card.json", "sample_tokens.json"}
    loaded = HookedTransformer.from_pretrained_no_processing(tmp_path / "sums", device="cpu")
    assert loaded.to_tokens("3 6 = 2", prepend_bos=False).tolist() == [[3, 6, 7, 2]]
    facts = json.loads((tmp_path / "sums" / "card.json").read_text())
    assert facts["held_out"]["accuracy"] == answered_right(loaded, trained.data.held_out)
    prompts = torch.tensor(json.loads((tmp_path / "sums" / "sample_tokens.json").read_text()))
    held_out = {tuple(row) for row in trained.data.held_out.tolist()}
    assert {tuple(row) for row in prompts.tolist()} <= held_out
