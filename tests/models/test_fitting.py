"""The trainer: it learns, it repeats itself bit for bit, it goes on after a kill, and it never continues on NaN."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import HookedTransformer, HookedTransformerConfig
from models.batches import TrainingWindows
from models.corpus import Corpus, Document
from models.errors import ConfigError, CorpusError, TrainingError
from models.evaluation import unigram_entropy
from models.fitting import CHECKPOINT, _optimizer, fit, learning_rate
from models.recipes import RECIPES, Recipe

CORPUS = Corpus(
    "test",
    tuple(Document(f"{k}.py", "".join(f"value_{i} = {i * k}\n" for i in range(40))) for k in range(2, 8)),
    tuple(Document(f"{k}.py", "".join(f"value_{i} = {i * k}\n" for i in range(20))) for k in (9, 11)),
)
RECIPE = Recipe(
    name="tiny",
    architecture=HookedTransformerConfig(
        n_layers=1,
        n_heads=2,
        d_model=24,
        d_head=10,
        d_mlp=40,
        n_ctx=16,
        d_vocab=270,
        act_fn="gelu",
        device="cpu",
    ),
    steps=60,
    batch=5,
    learning_rate=1e-2,
    final_learning_rate=1e-3,
    warm_up=7,
    weight_decay=0.1,
    betas=(0.9, 0.98),
    clip=1.0,
    seed=3,
    evaluate_every=20,
    checkpoint_every=8,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return fit(RECIPE, CORPUS, tmp_path_factory.mktemp("run"))


def weights(result):
    return torch.cat([parameter.detach().flatten() for parameter in result.model.parameters()])


def test_the_loss_falls_from_ln_v_to_far_below_the_unigram_entropy(trained, tmp_path):
    steps = []
    fit(RECIPE, CORPUS, tmp_path, steps.append)
    assert steps[0].loss == pytest.approx(math.log(270), abs=0.1)
    train = torch.tensor([token for d in CORPUS.train for token in trained.tokenizer.encode(d.text).ids])
    assert trained.held_out.nats_per_token.mean < unigram_entropy(train, trained.windows, 270) - 1
    assert [point.step for point in trained.curve] == [20, 40, 60]
    mean = sum(step.loss for step in steps[20:40]) / 20
    assert trained.curve[1].train_loss == pytest.approx(mean, rel=1e-12)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained, tmp_path):
    torch.manual_seed(99)  # nothing of the run may come from the global generator
    before = torch.get_rng_state()
    same = fit(RECIPE, CORPUS, tmp_path / "same")
    assert torch.equal(weights(same), weights(trained))
    assert same.curve == trained.curve
    assert torch.equal(torch.get_rng_state(), before)
    other = fit(replace(RECIPE, seed=4), CORPUS, tmp_path / "other")
    assert not torch.equal(weights(other), weights(trained))


@pytest.mark.parametrize("killed_at", [5, 8, 45])
def test_a_killed_run_goes_on_as_if_it_had_not_been_stopped(trained, tmp_path, killed_at):
    def kill(progress):
        if progress.step == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(RECIPE, CORPUS, tmp_path, kill)
    resumed = []
    finished = fit(RECIPE, CORPUS, tmp_path, resumed.append)
    assert resumed[0].step == 1 + killed_at // RECIPE.checkpoint_every * RECIPE.checkpoint_every
    assert torch.equal(weights(finished), weights(trained))
    assert finished.curve == trained.curve


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    short = replace(RECIPE, steps=8)
    fit(short, CORPUS, tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    with pytest.raises(TrainingError, match="another recipe"):
        fit(replace(short, learning_rate=2e-2), CORPUS, tmp_path)
    with pytest.raises(TrainingError, match="another recipe or corpus"):
        fit(short, replace(CORPUS, held_out=CORPUS.held_out[::-1]), tmp_path)
    fit(short, CORPUS, tmp_path)


def test_a_loss_that_is_not_a_number_ends_the_run_at_once(tmp_path, monkeypatch):
    reached = []
    original = TrainingWindows.__getitem__

    def poisoned(self, step):
        if step == 12:
            model_weights[0].data.fill_(math.nan)
        return original(self, step)

    model_weights = []
    monkeypatch.setattr(TrainingWindows, "__getitem__", poisoned)
    monkeypatch.setattr("models.fitting.initialise", lambda model, *_: model_weights.append(model.W_E))
    with pytest.raises(TrainingError, match="step 13 of 60: the loss is nan"):
        fit(RECIPE, CORPUS, tmp_path, reached.append)
    assert [progress.step for progress in reached] == list(range(1, 13))
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["done"] == 8
    assert all(value.isfinite().all() for value in state["model"].values())


def test_too_little_held_out_text_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="1 held-out documents"):
        fit(RECIPE, replace(CORPUS, held_out=CORPUS.held_out[:1]), tmp_path)


@given(st.integers(2, 300), st.data())
def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_end(steps, data):
    warm_up = data.draw(st.integers(0, steps - 2))
    recipe = replace(RECIPE, steps=steps, warm_up=warm_up)
    rates = [learning_rate(recipe, step) for step in range(steps)]
    assert max(rates) == pytest.approx(1e-2, rel=1e-12)
    assert rates[-1] == pytest.approx(1e-3, rel=1e-12)
    rising, falling = rates[:warm_up], rates[warm_up:]
    assert rising == pytest.approx([1e-2 * (k + 1) / warm_up for k in range(warm_up)], rel=1e-12)
    assert falling == sorted(falling, reverse=True)
    # Half a cosine is symmetric about its middle.
    assert [a + b for a, b in zip(falling, falling[::-1], strict=True)] == pytest.approx([1.1e-2] * len(falling))


def test_weight_decay_shrinks_matrices_and_nothing_else(tmp_path):
    # With gradients of zero AdamW's update is the decay alone.
    model = HookedTransformer(RECIPE.architecture)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = _optimizer(model, RECIPE)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - RECIPE.learning_rate * RECIPE.weight_decay if ".W_" in name else 1.0
        torch.testing.assert_close(parameter, before[name] * factor, rtol=1e-6, atol=0, msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"warm_up": 60}, "warm_up=60"),
        ({"final_learning_rate": 1.0}, "final_learning_rate=1.0"),
        ({"clip": -1.0}, "clip=-1.0"),
    ],
)
def test_a_recipe_that_no_run_can_use_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(RECIPE, **change)
    assert replace(RECIPE, steps=61).n_tokens == 61 * 5 * 15


def test_recipes_go_by_their_own_names():
    assert all(recipe.name == name == recipe.architecture.model_name for name, recipe in RECIPES.items())
