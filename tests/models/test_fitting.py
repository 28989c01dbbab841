"""The trainer: it learns, it repeats itself bit for bit, it goes on after a kill, and it never continues on NaN."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import HookedTransformer, HookedTransformerConfig
from models.addition import AdditionData
from models.corpus import Corpus, Document
from models.errors import ConfigError, CorpusError, TrainingError
from models.evaluation import held_out_loss, unigram_entropy
from models.fitting import CHECKPOINT, _optimizer, fit, learning_rate
from models.recipes import RECIPES, Recipe
from models.text_data import TextData

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


ADDITION = Recipe(
    name="sums",
    architecture=HookedTransformerConfig(
        n_layers=1,
        n_heads=2,
        d_model=18,
        d_head=8,
        d_mlp=20,
        n_ctx=4,
        d_vocab=8,
        act_fn="relu",
        device="cpu",
        normalization_type=None,
    ),
    steps=40,
    batch=15,
    learning_rate=1e-2,
    final_learning_rate=1e-3,
    warm_up=3,
    weight_decay=0.5,
    betas=(0.9, 0.98),
    clip=1.0,
    seed=5,
    evaluate_every=20,
    checkpoint_every=8,
    task="modular-addition",
    train_share=0.7,
    scheme="xavier",
    embedding_std=0.2,
)
REPEATING = replace(
    RECIPE, architecture=replace(RECIPE.architecture, n_ctx=20), steps=40, repeated_rows=2, repeats_only_steps=12
)


def run_on_text(recipe, folder, progress=None, corpus=CORPUS):
    return fit(recipe, TextData.prepared(recipe, corpus), folder, progress)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run_on_text(RECIPE, tmp_path_factory.mktemp("run"))


def weights(result):
    return torch.cat([parameter.detach().flatten() for parameter in result.model.parameters()])


def test_the_loss_falls_from_ln_v_to_far_below_the_unigram_entropy(trained, tmp_path):
    steps = []
    run_on_text(RECIPE, tmp_path, steps.append)
    assert steps[0].loss == pytest.approx(math.log(270), abs=0.1)
    train = torch.tensor([token for d in CORPUS.train for token in trained.data.tokenizer.encode(d.text).ids])
    unigram = unigram_entropy(train, trained.data.held_out, 270)
    assert held_out_loss(trained.model, trained.data.held_out).nats_per_token.mean < unigram - 1
    assert [point.step for point in trained.curve] == [20, 40, 60]
    mean = sum(step.loss for step in steps[20:40]) / 20
    assert trained.curve[1].train_loss == pytest.approx(mean, rel=1e-12)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained, tmp_path):
    torch.manual_seed(99)  # nothing of the run may come from the global generator
    before = torch.get_rng_state()
    same = run_on_text(RECIPE, tmp_path / "same")
    assert torch.equal(weights(same), weights(trained))
    assert same.curve == trained.curve
    assert torch.equal(torch.get_rng_state(), before)
    other = run_on_text(replace(RECIPE, seed=4), tmp_path / "other")
    assert not torch.equal(weights(other), weights(trained))


@pytest.mark.parametrize("killed_at", [5, 8, 29])
@pytest.mark.parametrize("recipe", [replace(RECIPE, steps=40), REPEATING, ADDITION], ids=["text", "repeats", "sums"])
def test_a_killed_run_goes_on_as_if_it_had_not_been_stopped(tmp_path, recipe, killed_at):
    def kill(progress):
        if progress.step == killed_at:
            raise KeyboardInterrupt

    data = AdditionData.prepared(recipe) if recipe is ADDITION else TextData.prepared(recipe, CORPUS)
    whole = fit(recipe, data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, data, tmp_path / "killed", kill)
    resumed = []
    finished = fit(recipe, data, tmp_path / "killed", resumed.append)
    assert resumed[0].step == 1 + killed_at // recipe.checkpoint_every * recipe.checkpoint_every
    assert torch.equal(weights(finished), weights(whole))
    assert finished.curve == whole.curve


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    short = replace(RECIPE, steps=8)
    run_on_text(short, tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    with pytest.raises(TrainingError, match="another recipe"):
        run_on_text(replace(short, learning_rate=2e-2), tmp_path)
    with pytest.raises(TrainingError, match="another recipe or other data"):
        run_on_text(short, tmp_path, corpus=replace(CORPUS, held_out=CORPUS.held_out[::-1]))
    run_on_text(short, tmp_path)


def test_a_loss_that_is_not_a_number_ends_the_run_at_once(tmp_path, monkeypatch):
    reached = []
    original = TextData.batch

    def poisoned(self, step):
        if step == 12:
            model_weights[0].data.fill_(math.nan)
        return original(self, step)

    model_weights = []
    monkeypatch.setattr(TextData, "batch", poisoned)
    monkeypatch.setattr("models.fitting.initialise", lambda model, *_: model_weights.append(model.W_E))
    with pytest.raises(TrainingError, match="step 13 of 60: the loss is nan"):
        run_on_text(RECIPE, tmp_path, reached.append)
    assert [progress.step for progress in reached] == list(range(1, 13))
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["done"] == 8
    assert all(value.isfinite().all() for value in state["model"].values())


def test_too_little_held_out_text_is_refused():
    with pytest.raises(CorpusError, match="1 held-out documents"):
        TextData.prepared(RECIPE, replace(CORPUS, held_out=CORPUS.held_out[:1]))


def test_repeated_rows_are_alone_at_first_and_then_stand_beside_text():
    data = TextData.prepared(REPEATING, CORPUS)
    text = set(data.stream.tolist())
    foreign = [[not set(row[1:].tolist()) <= text for row in data.batch(step)] for step in (0, 11, 12, 39)]
    assert foreign == [[True] * 5, [True] * 5, [False] * 3 + [True] * 2, [False] * 3 + [True] * 2]


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
        ({"repeated_rows": 5}, "repeated_rows=5"),
        ({"repeats_only_steps": 60}, "repeats_only_steps=60"),
        ({"train_share": 0.5}, "train_share=0.5 does not go with the task 'text'"),
        ({"task": "modular-addition"}, "train_share=None does not go with"),
        ({"task": "modular-addition", "train_share": 0.5, "repeated_rows": 2}, "no rows of repeated tokens"),
        ({"task": "modular-addition", "train_share": 1.0}, "train_share=1.0 must be between"),
    ],
)
def test_a_recipe_that_no_run_can_use_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(RECIPE, **change)
    assert replace(RECIPE, steps=61).n_tokens == 61 * 5 * 15


def test_recipes_go_by_their_own_names():
    assert all(recipe.name == name == recipe.architecture.model_name for name, recipe in RECIPES.items())
