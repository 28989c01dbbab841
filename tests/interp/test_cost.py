import pytest
import torch
from hypothesis import given, settings
from torch.utils.flop_counter import FlopCounterMode

from interp.cost import cache_bytes, forward_flops
from models import HookedTransformer

from ..conftest import order_one_model, random_tokens, small_config
from ..models.configurations import configurations

OURS = (
    {"n_key_value_heads": 2, "ungroup_grouped_query_attention": True},
    {"use_hook_tokens": True, "use_attn_result": True, "use_hook_mlp_in": True},
    {"use_split_qkv_input": True},
    {"dtype": torch.bfloat16, "use_hook_tokens": True},
)


def counted(model, length):
    with FlopCounterMode(display=False) as counter:
        _, cache = model.run_with_cache(random_tokens(1, length))
    return counter.get_total_flops(), sum(kept.numel() * kept.element_size() for kept in cache.values())


@settings(max_examples=15, deadline=None)
@given(configurations())
def test_operations_and_bytes_are_those_of_a_run(changes):
    model = HookedTransformer(small_config(**changes))
    for length in (2, 7):
        assert (forward_flops(model.cfg).at(length), cache_bytes(model).at(length)) == counted(model, length)


@pytest.mark.parametrize("changes", OURS)
def test_bytes_are_those_of_a_run_whatever_is_switched_on(changes):
    model = order_one_model(**changes)
    operations, held = counted(model, 7)
    assert cache_bytes(model).at(7) == held
    if "use_split_qkv_input" not in changes:
        assert forward_flops(model.cfg).at(7) == operations


def test_the_crossover_is_where_both_parts_are_equal():
    cost = forward_flops(small_config())
    assert cost.by_position * cost.crossover == pytest.approx(cost.by_pair * cost.crossover**2)
    assert cost.at(3) == 3 * cost.by_position + 9 * cost.by_pair


def test_the_patterns_are_the_part_with_the_square():
    model = order_one_model()
    _, cache = model.run_with_cache(random_tokens(1, 7))
    attention = [kept for name, kept in cache.items() if name.endswith(("hook_pattern", "hook_attn_scores"))]
    assert len(attention) == 4
    assert cache_bytes(model).by_pair * 49 == sum(kept.numel() * kept.element_size() for kept in attention)
