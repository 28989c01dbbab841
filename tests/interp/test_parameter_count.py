import pytest
from hypothesis import given, settings

from interp.parameter_count import parameter_count
from models import HookedTransformer

from ..conftest import small_config
from ..models.configurations import configurations


@settings(max_examples=30, deadline=None)
@given(configurations())
def test_the_parts_sum_to_the_parameters_of_the_model(changes):
    model = HookedTransformer(small_config(**changes))
    parts = parameter_count(model.cfg)
    assert sum(parts.values()) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("changes", [{}, {"attn_only": True}, {"n_key_value_heads": 2}, {"gated_mlp": True}])
def test_each_part_is_that_of_the_model(changes):
    model = HookedTransformer(small_config(**changes))
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    parts = parameter_count(model.cfg)
    assert parts["attention"] == sum(size for name, size in sizes.items() if ".attn." in name)
    assert parts["mlp"] == sum(size for name, size in sizes.items() if ".mlp." in name)
    assert parts["norms"] == sum(size for name, size in sizes.items() if "ln" in name)
    assert parts["positions"] == sizes["pos_embed.W_pos"]


def test_a_block_has_about_twelve_times_the_width_squared():
    config = small_config(n_layers=3, d_model=64, d_head=16, n_heads=4, d_mlp=256, qkv_bias=False)
    parts = parameter_count(config)
    assert (parts["attention"] + parts["mlp"]) / (12 * 3 * 64**2) == pytest.approx(1, abs=0.02)
