import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.masks import AttentionContext, Visibility, visibility
from tests.conftest import small_config


def by_double_loop(causal, window, n_queries, n_past, padding):
    """True where the query may look at the key, one pair at a time."""
    n_keys = n_past + n_queries
    rows = padding if padding is not None else [[True] * n_keys]
    mask = torch.zeros(len(rows), 1, n_queries, n_keys, dtype=torch.bool)
    for batch, row in enumerate(rows):
        for i in range(n_queries):
            query = n_past + i
            for key in range(n_keys):
                not_later = key <= query or not causal
                near = window is None or abs(query - key) < window
                mask[batch, 0, i, key] = not_later and near and row[key]
    return mask


@st.composite
def settings_of_one_run(draw):
    n_queries, n_past = draw(st.integers(1, 6)), draw(st.integers(0, 4))
    window = draw(st.none() | st.integers(1, 8))
    rows = st.lists(st.booleans(), min_size=n_queries + n_past, max_size=n_queries + n_past)
    padding = draw(st.none() | st.lists(rows, min_size=2, max_size=2))
    return draw(st.booleans()), window, n_queries, n_past, padding


@given(settings_of_one_run())
def test_the_mask_is_the_double_loop(run):
    causal, window, n_queries, n_past, padding = run
    context = AttentionContext(n_queries, n_past, None if padding is None else torch.tensor(padding))
    rule = Visibility(causal, window)
    mask, expected = context.mask(rule), by_double_loop(*run)
    if mask is None:
        assert expected.all()
    else:
        assert torch.equal(mask.expand_as(expected), expected)
    if context.is_plainly_causal(rule):
        assert torch.equal(expected, by_double_loop(True, None, n_queries, 0, None))


def test_a_lower_triangle_is_left_to_the_kernel_and_nothing_else_is():
    causal = Visibility(causal=True)
    assert AttentionContext(5).is_plainly_causal(causal)
    assert AttentionContext(5).is_plainly_causal(Visibility(causal=True, window=5))
    assert not AttentionContext(5).is_plainly_causal(Visibility(causal=True, window=4))
    assert not AttentionContext(5, n_past=1).is_plainly_causal(causal)
    assert not AttentionContext(5).is_plainly_causal(Visibility(causal=False))
    assert not AttentionContext(2, padding=torch.tensor([[False, True]])).is_plainly_causal(causal)


@pytest.mark.parametrize(
    ("padding", "ids"),
    [
        ([1, 1, 1], [0, 1, 2]),
        ([0, 0, 1, 1], [0, 0, 0, 1]),
        ([1, 1, 0, 0], [0, 1, 1, 1]),
        ([0, 1, 0, 1], [0, 0, 0, 1]),
        ([0, 0], [0, 0]),
    ],
)
def test_positions_count_from_the_first_token_that_is_not_padding(padding, ids):
    context = AttentionContext(len(padding), padding=torch.tensor([padding]).bool())
    assert context.position_ids().tolist() == [ids]


def test_positions_without_padding_go_on_where_the_past_ended():
    assert AttentionContext(2, n_past=3).position_ids().tolist() == [[0, 1, 2, 3, 4]]


def test_the_rule_of_each_layer():
    config = small_config(use_local_attn=True, window_size=3, attn_types=("local", "global"))
    assert [visibility(config, layer) for layer in (0, 1)] == [Visibility(True, 3), Visibility(True, None)]
    assert visibility(small_config(attention_dir="bidirectional"), 0) == Visibility(False, None)
    assert visibility(small_config(window_size=3, attn_types=("local", "local")), 0) == Visibility(True, None)
