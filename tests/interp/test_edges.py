"""An edge changes one reader's input and nothing else: by hooks on split inputs, and by what all edges add up to."""

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from interp import sweep
from interp.edges import NOT_BEHIND, edge_effects
from interp.errors import EngineError, NotASumError, OutOfRangeError
from interp.metrics import LogitDifference
from models import HookedTransformer

from ..conftest import order_one_model, random_tokens

ANSWER, WRONG = torch.tensor([3, 0]), torch.tensor([4, 2])
CLEAN, CORRUPTED = random_tokens(2, 5, seed=1), random_tokens(2, 5, seed=2)
METRIC = LogitDifference(ANSWER, WRONG)
KINDS = {
    "plain": {},
    "attention only": {"attn_only": True},
    "parallel": {"parallel_attn_mlp": True},
    "grouped": {"n_key_value_heads": 2, "positional_embedding_type": "rotary", "normalization_type": "RMS"},
    "three blocks": {"n_layers": 3},
    "shortformer": {"positional_embedding_type": "shortformer"},
}


Cache = Any


def by_hand(model: HookedTransformer, runs: tuple[Cache, Cache], sender: str, receiver: str) -> torch.Tensor:
    """The metric of the corrupted run in which the receiver reads the clean run's write of the sender."""
    difference = written(model, sender, runs[0]) - written(model, sender, runs[1])

    def added(activation, hook):
        if activation.ndim == 3:
            return activation + difference
        activation[:, :, int(receiver.partition(".")[0].lstrip("L").partition("H")[2] or receiver[4])] += difference
        return activation

    if receiver == "logits":
        name = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    elif receiver.endswith("MLP"):
        name = f"blocks.{receiver[1]}.hook_mlp_in"
    else:
        name = f"blocks.{receiver[1]}.hook_{receiver[-1]}_input"
    return METRIC(model.run_with_hooks(CORRUPTED, fwd_hooks=[(name, added)])).detach()


def written(model, sender, cache):
    if sender == "embed":
        return cache["blocks.0.hook_resid_pre"]
    layer = int(sender[1])
    if sender.endswith("MLP"):
        return cache[f"blocks.{layer}.hook_mlp_out"]
    head = int(sender[3:])
    return cache[f"blocks.{layer}.attn.hook_z"][:, :, head] @ model.W_O[layer, head]


@pytest.mark.parametrize("engine", ["wavefront", "hooks"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_edge_is_what_hooks_on_the_receivers_own_input_give(kind, engine):
    model = order_one_model(**KINDS[kind])
    effects = edge_effects(model, CLEAN, CORRUPTED, METRIC, direction="denoising", engine=engine)
    senders, receivers = effects.coordinates
    runs = tuple(model.run_with_cache(tokens)[1] for tokens in (CLEAN, CORRUPTED))
    model.set_use_split_qkv_input(True)
    model.set_use_hook_mlp_in(True)
    alive = (~effects.dead).nonzero().tolist()
    assert len(alive) > 40
    for i, j in random.Random(0).sample(alive, 40):
        expected = by_hand(model, runs, senders[i], receivers[j])
        name = f"{senders[i]} -> {receivers[j]}"
        assert_close(effects.values[:, i, j], expected, rtol=1e-10, atol=1e-10, msg=name)
    assert effects.change.abs().amax(dim=0)[~effects.dead].min() > 1e-9


def test_what_does_not_come_behind_is_dead_and_the_rest_is_not():
    effects = edge_effects(order_one_model(), CLEAN, CORRUPTED, METRIC, direction="noising")
    senders, receivers = effects.coordinates
    dead = {
        (sender, receiver)
        for i, sender in enumerate(senders)
        for j, receiver in enumerate(receivers)
        if effects.dead[i, j]
    }
    for sender, receiver, expected in (
        ("embed", "L0H0.q", False), ("L0H1", "L0H2.k", True), ("L0H1", "L0MLP", False), ("L0MLP", "L0MLP", True),
        ("L0MLP", "L1H0.v", False), ("L1H0", "L0MLP", True), ("L1MLP", "logits", False),
    ):  # fmt: skip
        assert ((sender, receiver) in dead) is expected, (sender, receiver)
    assert any(NOT_BEHIND in note for note in effects.notes)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), direction=st.sampled_from(["denoising", "noising"]))
def test_edges_into_the_logits_add_up_in_a_model_without_a_final_norm(seed, direction):
    """With no norm behind the last block all direct edges together are the other run's last stream, as far as it is
    a sum: the metric is linear in it."""
    model = order_one_model(seed=seed, normalization_type=None)
    effects = edge_effects(model, CLEAN, CORRUPTED, METRIC, direction=direction, receivers=["logits"])
    whole = sweep(model, CLEAN, CORRUPTED, "resid_post", ("layer",), METRIC, direction=direction)
    assert_close(effects.change[..., 0].sum(dim=1), whole.change[:, -1], rtol=1e-9, atol=1e-9)


def test_the_choice_of_senders_and_receivers_changes_no_number():
    model = order_one_model()
    every = edge_effects(model, CLEAN, CORRUPTED, METRIC, direction="denoising")
    some = edge_effects(
        model, CLEAN, CORRUPTED, METRIC, direction="denoising", senders=["L0MLP", "embed"], receivers=["L1H2.q"]
    )
    i = [every.coordinates[0].index(sender) for sender in ("L0MLP", "embed")]
    assert_close(some.values[..., 0], every.values[:, i, every.coordinates[1].index("L1H2.q")], rtol=0, atol=1e-11)
    with pytest.raises(OutOfRangeError, match=r"no receiver 'L1H9.q'\. Did you mean 'L1H"):
        edge_effects(model, CLEAN, CORRUPTED, METRIC, direction="denoising", receivers=["L1H9.q"])
    with pytest.raises(OutOfRangeError, match="at least one, and none twice"):
        edge_effects(model, CLEAN, CORRUPTED, METRIC, direction="denoising", senders=["embed", "embed"])


def test_models_whose_streams_are_no_sums_and_models_with_hooks_are_refused():
    for changes in ({"norm_placement": "post"}, {"use_normalization_before_and_after": True}):
        with pytest.raises(NotASumError, match="no "):
            edge_effects(order_one_model(**changes), CLEAN, CORRUPTED, METRIC, direction="denoising")
    model = order_one_model()
    model.add_hook("blocks.0.hook_resid_pre", lambda x, hook: None)
    with pytest.raises(EngineError, match="the model has hooks"):
        edge_effects(model, CLEAN, CORRUPTED, METRIC, direction="denoising")
    model.reset_hooks()
    edge_effects(model, CLEAN, CORRUPTED, METRIC, direction="denoising")
