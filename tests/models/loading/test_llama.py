"""A trained Llama in a Hugging Face folder, against what was measured on it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from models import HookedTransformer


@pytest.fixture(scope="module")
def stories(shared: Path) -> Path:
    """The folder of a trained Llama of 260,032 parameters, and what was measured on it."""
    return shared / "data" / "stories260k"


@pytest.fixture(scope="module")
def story_model(stories: Path) -> HookedTransformer:
    return HookedTransformer.from_pretrained_no_processing(stories / "hf", device="cpu")


@pytest.fixture(scope="module")
def measured(stories: Path) -> dict[str, Any]:
    return json.loads((stories / "reference_values.json").read_text())


@torch.no_grad()
def test_the_trained_model_gives_the_measured_logits_and_norms(
    story_model: HookedTransformer, measured: dict[str, Any]
) -> None:
    fixture = measured["fixture"]
    tokens = torch.tensor([fixture["input_ids_with_bos"]])
    assert torch.equal(story_model.to_tokens(fixture["text"]), tokens)
    logits, cache = story_model.run_with_cache(tokens)
    # Theirs were measured in float32 and rounded to the digits written.
    assert_close(story_model(tokens, return_type="loss").item(), fixture["loss"], atol=1e-6, rtol=0)
    top = logits[0, -1].topk(5)
    assert top.indices.tolist() == [token for token, _, _ in fixture["last_logits_top5"]]
    assert_close(top.values.tolist(), [value for _, _, value in fixture["last_logits_top5"]], atol=6e-5, rtol=0)
    assert_close(logits[0, -1, :8].tolist(), fixture["last_logits_first8"], atol=2e-5, rtol=0)
    # Hugging Face's last hidden state stands behind the final norm.
    streams = [cache[f"blocks.{layer}.hook_resid_pre"] for layer in range(5)] + [cache["unembed.hook_in"]]
    norms = [stream[0, -1].norm().item() for stream in streams]
    assert_close(norms, fixture["resid_norm_per_layer_last_pos"], atol=6e-6, rtol=0)


@torch.no_grad()
def test_the_trained_model_writes_the_published_story(story_model: HookedTransformer, stories: Path) -> None:
    fixture = json.loads((stories / "greedy_fixture.json").read_text())
    options = {"max_new_tokens": 200, "do_sample": False, "stop_at_eos": False, "verbose": False}
    written = story_model.generate(torch.tensor([[1]]), **options)
    assert story_model.tokenizer.decode(written[0], skip_special_tokens=True).strip() == fixture["expected_text"]


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["tinystories-sample-cs336.txt", "wizard-of-oz-excerpt.txt", "wikitext-2-valid.txt", "tinyshakespeare.txt"]
)
def test_the_trained_model_has_the_measured_loss_on_each_text(
    name: str, story_model: HookedTransformer, measured: dict[str, Any], shared: Path
) -> None:
    loss, n_predicted = measured["files"][name]
    # Measured on windows of 255 tokens behind a BOS, blank lines left out; 60,000 characters are more than enough.
    text = (shared / "data" / "text-english" / name).read_text(encoding="utf-8")[:60000].replace("\n\n", "\n")
    ids = story_model.tokenizer.encode(text, add_special_tokens=False)[:n_predicted]
    windows = torch.tensor(ids).reshape(-1, 255)
    tokens = torch.cat([torch.ones_like(windows[:, :1]), windows], dim=1)
    assert_close(story_model(tokens, return_type="loss").item(), loss, atol=6e-5, rtol=0)


@torch.no_grad()
def test_the_trained_model_has_the_measured_heads(story_model: HookedTransformer, measured: dict[str, Any]) -> None:
    # Measured on random text pieces (tokens from 259 on), 64 of them and the same 64 again, behind a BOS. The draw is
    # ours, so scores agree to a sampling error of about 0.001 and losses to about 0.05.
    once = torch.randint(259, 512, (64, 64), generator=torch.Generator().manual_seed(0))
    tokens = torch.cat([torch.ones(64, 1, dtype=torch.long), once, once], dim=1)
    _, cache = story_model.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"))
    patterns = torch.stack([cache["pattern", layer] for layer in range(5)])
    previous = _mean_on_diagonal(patterns, 1)
    induction = _mean_on_diagonal(patterns, 63)
    for scores, name in ((previous, "previous_token_top_heads"), (induction, "induction_top_heads")):
        values = [float(scores[int(label[1]), int(label[3])]) for label, _ in measured[name]]
        assert_close(values, [value for _, value in measured[name]], atol=2e-3, rtol=0)
        assert float(scores.max()) == pytest.approx(measured[name][0][1], abs=2e-3)
    losses = story_model(tokens, return_type="loss", loss_per_token=True)
    theirs = measured["random_repeat_64"]
    assert losses[:, :64].mean().item() == pytest.approx(theirs["loss_first"], abs=0.1)
    assert losses[:, 64:].mean().item() == pytest.approx(theirs["loss_second"], abs=0.1)


def _mean_on_diagonal(patterns: Tensor, distance: int) -> Tensor:
    return patterns.diagonal(-distance, -2, -1).mean(dim=(1, 3))
