import math

import pytest
import torch
from torch.distributions import Categorical
from torch.testing import assert_close

from interp.patterns import pattern_entropy, pattern_statistics, patterns

from ..conftest import order_one_model, random_tokens
from .induction_model import induction_model


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"n_key_value_heads": 2}, {"positional_embedding_type": "rotary"}])
def test_the_value_weighted_pattern_is_the_length_of_what_is_read(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    found = patterns(model, tokens)
    assert found.attention.shape == found.value_weighted.shape == (3, 2, 4, 7, 7)
    _, cache = model.run_with_cache(tokens)
    prompt, layer, head, query, key = 2, 1, 3, 5, 4
    v = cache[f"blocks.{layer}.attn.hook_v"][prompt, key]
    written = v[head // (4 // len(v))] @ model.W_O[layer, head]
    expected = cache["pattern", layer][prompt, head, query, key] * written.norm()
    assert_close(found.value_weighted[prompt, layer, head, query, key], expected)
    assert_close(found.attention[:, layer], cache["pattern", layer])
    assert found.output_error < 1e-12


@torch.no_grad()
def test_the_value_weighted_pattern_does_not_depend_on_how_the_circuit_is_split():
    model, tokens = order_one_model(), random_tokens()
    before = patterns(model, tokens).value_weighted
    turn = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    attention = model.blocks[1].attn
    attention.W_V.data[2] = attention.W_V[2] @ turn
    attention.b_V.data[2] = attention.b_V[2] @ turn
    attention.W_O.data[2] = turn.inverse() @ attention.W_O[2]
    assert_close(patterns(model, tokens).value_weighted, before)


def test_an_output_that_is_not_the_weighted_values_shows():
    model = order_one_model()
    model.add_hook("blocks.1.attn.hook_z", lambda z, hook: z * 1.01)
    assert patterns(model, random_tokens()).output_error > 1e-3


def test_the_entropy_is_that_of_torch_distributions():
    attention = patterns(order_one_model(), random_tokens()).attention
    expected = Categorical(probs=attention[..., 2:, :]).entropy()
    assert_close(pattern_entropy(attention), expected, atol=1e-6, rtol=0)  # theirs clamps at the eps of float64


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({}, range(3, 8)),
        ({"attention_dir": "bidirectional"}, [7] * 5),
        ({"use_local_attn": True, "window_size": 4, "attn_types": ["global", "local"]}, [3, 4, 4, 4, 4]),
    ],
)
def test_even_attention_has_the_even_entropy(changes, keys):
    model = order_one_model(**changes)
    for block in model.blocks:
        block.attn.W_Q.data.zero_()
        block.attn.b_Q.data.zero_()
    found = pattern_statistics(model, random_tokens())
    assert_close(found.entropy, found.even_entropy[:, None].expand(3, 2, 4))
    assert float(found.even_entropy[1]) == pytest.approx(sum(map(math.log, keys)) / 5)


def test_a_head_that_looks_at_one_key_has_no_entropy_and_nothing_of_the_first():
    found = pattern_statistics(induction_model(), random_tokens(2, 8, d_vocab=7))
    assert float(found.entropy[:, 0, 0].max()) < 1e-9
    assert float(found.first_attention[:, 0, 0].max()) < 1e-9
    even = sum(1 / n for n in range(3, 9)) / 6
    assert_close(found.first_attention[:, 0, 1], torch.full((2,), even, dtype=torch.float64))
    # The head of zeros reads nothing, so the first token has no share of it.
    assert found.first_read[:, 0, 1].isnan().all()


def test_prompts_are_taken_one_by_one_and_a_few_at_a_time():
    model, tokens = order_one_model(), random_tokens(5, 7)
    whole = pattern_statistics(model, tokens)
    pieces = pattern_statistics(model, tokens, patterns_at_once=2 * 4 * 49 * 2)
    for name in ("entropy", "first_attention", "first_read"):
        assert_close(getattr(whole, name), getattr(pieces, name))
        alone = getattr(pattern_statistics(model, tokens[3:4]), name)
        assert_close(getattr(whole, name)[3:4], alone)
