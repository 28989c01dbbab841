from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from interp.component_ablation import Component, ablations, component, components
from interp.engine import plain
from interp.errors import OutOfRangeError, TokensError
from interp.hooks import edited
from interp.interventions import patch
from interp.metrics import Function, Loss
from interp.shapley import shapley
from models import HookedTransformer

from ..conftest import order_one, order_one_model, random_tokens, small_config
from ..models.configurations import configurations


def with_zeroed_weights(model: HookedTransformer, taken: list[Component]) -> HookedTransformer:
    """A copy in which what the components write is zero by their weights."""
    other = HookedTransformer(model.cfg)
    other.load_state_dict(model.state_dict())
    for one in taken:
        block = other.blocks[one.layer]
        if one.head is None:
            block.mlp.W_out.data.zero_()
            block.mlp.b_out.data.zero_()
        else:
            block.attn.W_O.data[one.head] = 0
    return other


@settings(max_examples=15, deadline=None)
@given(changes=configurations(d_vocab_out=17, use_normalization_before_and_after=False), data=st.data())
def test_zero_ablation_of_any_set_is_the_model_with_those_weights_zeroed(changes, data):
    model, tokens = order_one(HookedTransformer(small_config(**changes))), random_tokens()
    taken = data.draw(st.lists(st.sampled_from(components(model)), min_size=1, max_size=4, unique=True))
    found = ablations(model, tokens, Loss(tokens), "zero")
    other = with_zeroed_weights(model, taken)
    expected = Loss(tokens)(other(tokens)) - Loss(tokens)(model(tokens))
    assert_close(found.effect(taken), expected.detach(), rtol=1e-9, atol=1e-9)


def test_mean_and_resample_stand_for_what_they_say():
    model, tokens, reference = order_one_model(), random_tokens(), random_tokens(5, seed=4)
    _, cache = model.run_with_cache(reference)
    metric = Loss(tokens)
    name = "blocks.0.attn.hook_z"
    for kind, values in (
        ("mean", cache[name].mean(dim=0).expand(3, -1, -1, -1)),
        ("resample", cache[name].roll(1, 0)[:3]),
    ):

        def stand_in(z, hook, values=values):
            z[:, :, 2] = values[:, :, 2]
            return z

        with torch.no_grad():
            expected = metric(model.run_with_hooks(tokens, fwd_hooks=[(name, stand_in)])) - metric(model(tokens))
        found = ablations(model, tokens, metric, kind, reference)
        assert_close(found.effect([Component(0, 2)]), expected)
        assert found.effect([Component(0, 2)]).abs().max() > 1e-3


def one_by_one(model, tokens, metric, kind, sets):
    """The effect of each set, by an edited run for each."""
    _, written = plain.activations(model, tokens, [one.point for one in components(model)])
    others = {
        name: values.mean(dim=0).expand_as(values) if kind == "mean" else values.roll(1, dims=0)
        for name, values in written.items()
    }
    effects = []
    with torch.no_grad():
        base = metric(model(tokens))
        for taken in sets:
            cells = [one.cell(model) for one in taken]
            with edited(model, {cell: patch(cell.read(others[cell.name])) for cell in cells}):
                effects.append(metric(model(tokens)) - base)
    return torch.stack(effects, dim=1)


@settings(max_examples=15, deadline=None)
@given(
    changes=configurations(d_vocab_out=17),
    kind=st.sampled_from(["mean", "resample"]),
    at=st.none() | st.just((5, 2)),
    data=st.data(),
)
def test_many_sets_at_once_are_what_an_edited_run_for_each_gives(changes, kind, at, data):
    model, tokens = order_one(HookedTransformer(small_config(**changes))), random_tokens()
    some = st.lists(st.sampled_from(components(model)), min_size=1, max_size=4, unique=True)
    sets = [components(model), *data.draw(st.lists(some, max_size=3))]
    found = ablations(model, tokens, Loss(tokens, at), kind).effects([[], *sets])
    assert_close(found[:, 1:], one_by_one(model, tokens, Loss(tokens, at), kind, sets), rtol=1e-9, atol=1e-9)
    assert not found[:, 0].any()


def test_a_model_with_hooks_of_its_owner_is_run_through_them():
    model, tokens = order_one_model(), random_tokens()
    sets = [[Component(0, 1)], [Component(0, 2), Component(1)]]
    alone = ablations(model, tokens, Loss(tokens), "mean")
    with edited(model, {"blocks.1.hook_resid_pre": lambda stream: stream.roll(1, dims=2)}):
        hooked = ablations(model, tokens, Loss(tokens), "mean")
        assert_close(hooked.effects(sets), one_by_one(model, tokens, Loss(tokens), "mean", sets))
    assert (alone.engine, hooked.engine) == ("wavefront", "hooks")
    assert (hooked.effects(sets) - alone.effects(sets)).abs().max() > 1e-3


def test_a_prompt_is_never_resampled_by_itself():
    model, tokens = order_one_model(), random_tokens()
    found = ablations(model, tokens, Loss(tokens), "resample")
    _, own = model.run_with_cache(tokens)
    for name, values in found.values.items():
        assert not any(torch.equal(one, other) for one, other in zip(values, own[name], strict=True))


def test_with_a_linear_readout_and_squared_error_the_ablations_are_related_by_algebra():
    # One head, no norm, no MLP: the logits are linear in what the head writes once its pattern is fixed.
    model = order_one_model(n_layers=1, n_heads=1, attn_only=True, normalization_type=None, final_norm=False)
    tokens = random_tokens(6)
    target = model(tokens).detach()
    squared = Function("squared error", lambda logits: (logits - target.double()).square().sum(dim=(1, 2)))
    head = [Component(0, 0)]
    zero, mean = (ablations(model, tokens, squared, kind).effect(head).mean() for kind in ("zero", "mean"))
    _, cache = model.run_with_cache(tokens)
    average = cache["blocks.0.attn.hook_z"].mean(dim=0)[:, 0].detach()
    written = average @ model.W_O[0, 0].detach() @ model.W_U.detach()
    # Source: section "Ablations" of the reference: the zero effect is the mean effect and the mean's own square.
    assert_close(zero, mean + written.square().sum())
    every = []
    for shift in range(1, 6):
        order = torch.arange(6).roll(shift)
        found = ablations(model, tokens, squared, "resample", tokens[order.roll(-1)])
        every.append(found.effect(head))
    # Over all other prompts and oneself (which adds nothing) a resampled value costs twice what the mean does.
    assert_close(torch.stack(every).sum(dim=0).mean() / 6, 2 * mean)


def test_all_heads_of_a_block_and_the_mlp_are_components_with_names():
    model = order_one_model()
    assert [str(one) for one in components(model)][:6] == ["L0H0", "L0H1", "L0H2", "L0H3", "L0MLP", "L1H0"]
    assert component(model, " l1h3 ") == Component(1, 3)
    assert component(model, "L1MLP") == Component(1)
    assert len(components(order_one_model(attn_only=True))) == 8
    for wrong in ("L2H0", "L0H4", "L2MLP", "H1", "L0", "L0H1x"):
        with pytest.raises(OutOfRangeError, match="heads are L0H0 to L1H3, the MLPs L0MLP to L1MLP"):
            component(model, wrong)
    with pytest.raises(OutOfRangeError, match="there are no MLPs"):
        component(order_one_model(attn_only=True), "L0MLP")


def test_nothing_taken_out_changes_nothing_and_a_component_named_twice_counts_once():
    model, tokens = order_one_model(), random_tokens()
    found = ablations(model, tokens, Loss(tokens), "mean")
    assert not found.effect([]).any()
    assert torch.equal(found.effect([Component(0, 1)] * 2), found.effect([Component(0, 1)]))
    assert found.effects([[], [Component(0, 1)]]).shape == (3, 2)


def test_references_that_do_not_fit_are_refused():
    model, tokens = order_one_model(), random_tokens()
    metric = Loss(tokens)
    with pytest.raises(TokensError, match="mean ablation needs at least two prompts"):
        ablations(model, tokens, metric, "mean", tokens[:1])
    with pytest.raises(TokensError, match="resample needs a reference prompt for each of 3; there are 2"):
        ablations(model, tokens, metric, "resample", tokens[:2])
    with pytest.raises(TokensError, match=r"reference has shape \[3, 5\]"):
        ablations(model, tokens, metric, "mean", tokens[:, :5])
    ablations(model, tokens, metric, "mean", tokens[:2])
    ablations(model, tokens[:1], Loss(tokens[:1]), "zero")


def test_shapley_values_are_means_over_all_orders_and_sum_to_the_joint_effect():
    model, tokens = order_one_model(), random_tokens()
    found = ablations(model, tokens, Loss(tokens), "zero")
    players = [Component(0, 1), Component(0), Component(1)]
    result = shapley(found.effect, players)
    gains = {player: [] for player in players}
    for order in permutations(players):
        for place, player in enumerate(order):
            gains[player].append(found.effect(order[: place + 1]) - found.effect(order[:place]))
    by_orders = torch.stack([torch.stack(gains[player]).mean(dim=0) for player in players], dim=1)
    assert_close(result.values, by_orders)
    assert float(result.efficiency_error.abs().max()) < 1e-12
    assert_close(result.joint, found.effect(players))
    assert_close(result.alone, found.effects([[player] for player in players]))
    # Components of a transformer do interact: a sum of single effects must not be taken for the joint one.
    assert float(result.interaction.abs().max()) > 1e-2


def test_players_that_do_not_meet_are_worth_what_they_are_alone():
    weights = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    result = shapley(lambda taken: weights[:, list(taken)].sum(dim=1), [0, 1, 2])
    assert_close(result.values, weights)
    assert_close(result.interaction, torch.zeros(1, dtype=torch.float64))


def test_a_pair_of_backups_shares_what_only_both_together_lose():
    both = shapley(lambda taken: torch.tensor([6.0 * (len(taken) == 2)]), ["a", "b"])
    assert_close(both.values, torch.tensor([[3.0, 3.0]], dtype=torch.float64))
    assert_close(both.interaction, torch.tensor([6.0], dtype=torch.float64))


def test_too_many_players_are_refused():
    def nothing(taken):
        return torch.zeros(1)

    for players in ([], [1, 1], list(range(11))):
        with pytest.raises(OutOfRangeError, match="1 to 10 different players"):
            shapley(nothing, players)
    shapley(nothing, list(range(3)))
