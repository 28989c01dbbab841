import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from models import HookedTransformer, initialise
from models.errors import ConfigError
from models.initialisation import deepnorm_residual_scale
from tests.conftest import order_one, order_one_model, random_tokens, small_config

WIDE = {"d_model": 60, "d_head": 20, "d_mlp": 100, "d_vocab": 70, "n_ctx": 50, "n_layers": 2, "qkv_bias": True}
SCHEMES = ["gpt2", "linear", "xavier", "normal", "deepnorm"]
EMBEDDINGS = ("embed.W_E", "pos_embed.W_pos", "unembed.W_U")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(scheme, seed=0, std=None, **changes):
    model = order_one_model(**{**WIDE, **changes})
    initialise(model, scheme, generator(seed), std)
    return model


def within(value, expected, standard_error, times=5):
    assert abs(value - expected) < times * standard_error, (value, expected, standard_error)


def check_moments(weight, variance, uniform):
    """Mean and variance against their known standard errors: the fourth moment is 3 (normal) or 9/5 (uniform)."""
    n, fourth = weight.numel(), 9 / 5 if uniform else 3
    within(weight.mean().item(), 0.0, math.sqrt(variance / n))
    within(weight.square().mean().item(), variance, variance * math.sqrt((fourth - 1) / n))
    kurtosis = (weight**4).mean().item() / variance**2
    within(kurtosis, fourth, math.sqrt((1 / 9 * 81 if uniform else 105) / n))


def expected_variance(scheme, name, model):
    """Each scheme's formula, written from its paper."""
    d_model, d_head, d_mlp, heads, layers = 60, 20, 100, 4, model.cfg.n_layers
    leaf = name.rpartition(".")[2]
    fan_in, fan_out = {
        **dict.fromkeys(("W_Q", "W_K", "W_V"), (d_model, d_head)), "W_O": (d_head, d_model),
        "W_in": (d_model, d_mlp), "W_gate": (d_model, d_mlp), "W_out": (d_mlp, d_model),
    }[leaf]  # fmt: skip
    match scheme:
        case "normal":
            return 0.02**2
        case "gpt2":
            return 0.02**2 / (2 * layers if leaf in ("W_O", "W_out") else 1)
        case "linear":
            return 1 / (3 * (heads * d_head if leaf == "W_O" else fan_in))
        case "xavier":
            return 2 / (fan_in + fan_out)
        case "deepnorm":
            beta = 1.0 if leaf in ("W_Q", "W_K") else (8 * layers) ** -0.25
            return beta**2 * 2 / (fan_in + fan_out)


@pytest.mark.parametrize("changes", [{}, {"gated_mlp": True}], ids=str)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_moments_of_every_matrix_are_those_of_the_scheme(scheme, changes):
    model = drawn(scheme, **changes)
    for name, weight in model.named_parameters():
        if ".W_" in name:
            variance = 0.02**2 if name in EMBEDDINGS else expected_variance(scheme, name, model)
            check_moments(weight.detach(), variance, uniform=scheme == "linear" and name not in EMBEDDINGS)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_biases_are_zero_and_norms_neutral_whatever_they_were(scheme):
    for kind, neutral in (("LN", 1.0), ("RMS", 1.0), ("ScaleNorm", math.sqrt(60))):
        for name, weight in drawn(scheme, normalization_type=kind).named_parameters():
            if ".W_" not in name:
                expected = neutral if name.endswith(".w") else 0.0
                assert_close(weight.detach(), torch.full_like(weight, expected))


def test_linear_has_the_distribution_of_pytorchs_linear_layer():
    torch.manual_seed(0)
    model = drawn("linear", d_head=15)  # 4 heads of 15: W_O is a 60 x 60 matrix
    attn, mlp = model.blocks[0].attn, model.blocks[0].mlp
    for ours, reference in (
        (attn.W_Q, nn.Linear(60, 60)),
        (attn.W_O, nn.Linear(60, 60)),
        (mlp.W_in, nn.Linear(60, 100)),
        (mlp.W_out, nn.Linear(100, 60)),
    ):
        bound = 1 / math.sqrt(reference.in_features)
        for weight in (ours.detach().double().flatten(), reference.weight.detach().double().flatten()):
            check_moments(weight, bound**2 / 3, uniform=True)
            # The largest of n uniform numbers is within 10/n of the bound with probability 1 - e^-10.
            assert bound * (1 - 10 / weight.numel()) < weight.abs().max() <= bound


@pytest.mark.parametrize("scheme", SCHEMES)
def test_std_sets_the_embeddings(scheme):
    model = drawn(scheme, std=0.7)
    for name in EMBEDDINGS:
        check_moments(model.get_parameter(name).detach(), 0.7**2, uniform=False)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_generator_decides_the_weights_and_no_global_state_moves(scheme):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    model = HookedTransformer(small_config(seed=1))
    initialise(model, scheme, generator(5))
    assert torch.equal(torch.get_rng_state(), state)
    again, other = HookedTransformer(small_config(seed=2)), HookedTransformer(small_config(seed=1))
    torch.manual_seed(4)
    initialise(again, scheme, generator(5))
    initialise(other, scheme, generator(6))
    tokens = random_tokens()
    assert torch.equal(again(tokens), model(tokens))
    assert not torch.equal(other(tokens), model(tokens))


@pytest.mark.usefixtures("as_users_run_it")
def test_an_unknown_scheme_is_refused():
    model = HookedTransformer(small_config())
    with pytest.raises(ConfigError, match="'kaiming' is not known; choose one of gpt2, linear"):
        initialise(model, "kaiming", generator())
    initialise(model, "xavier", generator())


@pytest.mark.parametrize("init_mode", ["gpt2", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"])
def test_a_seed_in_the_config_decides_the_weights_and_touches_no_global_state(init_mode):
    state = torch.get_rng_state()
    model, again, other = (
        HookedTransformer(small_config(seed=seed, init_mode=init_mode)).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(model[name], again[name]) for name in model)
    assert not torch.equal(model["embed.W_E"], other["embed.W_E"])


@pytest.mark.parametrize("init_mode", ["gpt2", "xavier_normal"])
def test_without_a_seed_the_global_generator_decides(init_mode):
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(HookedTransformer(small_config(init_mode=init_mode)).W_E)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("init_mode", "variance", "uniform"),
    [
        ("gpt2", 0.64 / 60, False),
        ("xavier_uniform", 2 / (60 + 100), True),
        ("xavier_normal", 2 / (60 + 100), False),
        ("kaiming_uniform", 2 / 60, True),
        ("kaiming_normal", 2 / 60, False),
    ],
)
def test_init_mode_draws_by_the_fans_of_each_matrix(init_mode, variance, uniform):
    model = HookedTransformer(small_config(**WIDE, init_mode=init_mode, seed=0))
    check_moments(model.W_in[0].detach(), variance, uniform)


def test_init_weights_starts_afresh_biases_included():
    for init_mode in ("gpt2", "xavier_normal"):
        model = order_one(HookedTransformer(small_config(init_mode=init_mode, seed=1)))
        model.init_weights()
        fresh = HookedTransformer(model.cfg)
        assert_close(model.state_dict(), fresh.state_dict())


def test_weights_that_are_not_initialised_are_not_numbers():
    model = HookedTransformer(small_config(init_weights=False))
    assert all(parameter.isnan().all() for parameter in model.parameters())
    initialise(model, "gpt2", generator())
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_deepnorms_weight_of_the_skip():
    assert deepnorm_residual_scale(8) == pytest.approx(2.0)
