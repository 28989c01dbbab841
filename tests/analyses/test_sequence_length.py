import numpy as np
import pytest
import torch

from analyses.errors import NotApplicableError
from analyses.forward_times import MOST_ROUNDS, fit, sizes, times
from analyses.rendering import require_valid
from analyses.sequence_length import Options, run
from interp.cost import forward_flops

from ..conftest import order_one_model, random_tokens

SHORT = Options(seconds=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_key_value_heads": 2, "positional_embedding_type": "rotary", "gated_mlp": True},
        {"norm_placement": "post", "dtype": torch.float32},
        {"attn_only": True, "n_layers": 1, "n_heads": 1, "n_ctx": 4, "tie_word_embeddings": True},
        {"attn_scores_soft_cap": 3.0},
        {"attention_dir": "bidirectional"},
        {"dtype": torch.bfloat16},
    ],
)
def test_every_identity_holds(changes):
    model = order_one_model(**changes)
    result = run(model, random_tokens(3, min(7, model.cfg.n_ctx)), SHORT)
    require_valid(result)
    causal = model.cfg.attention_dir == "causal"
    assert len(result.identities) == (6 if causal else 4)
    assert ("Logits of a prefix" in result.tables) == causal
    assert ("bidirectional" in result.verdict) != causal


def test_a_context_too_short_to_say_anything_is_no_failure():
    with pytest.raises(NotApplicableError, match="context of 3 positions"):
        run(order_one_model(n_ctx=3), random_tokens(length=3), SHORT)
    run(order_one_model(n_ctx=4), random_tokens(length=3), SHORT)
    with pytest.raises(ValueError, match="seconds=0"):
        Options(seconds=0.0)


def test_a_model_that_takes_more_than_its_context_fails_an_identity(monkeypatch):
    model = order_one_model(positional_embedding_type="none")
    forward = type(model)._context

    def without_the_check(self, shape, *arguments):
        return forward(self, torch.Size((shape[0], min(shape[1], 9))), *arguments)

    monkeypatch.setattr(type(model), "_context", without_the_check)
    refused = [i for i in run(model, random_tokens(), SHORT).identities if "refused" in i.statement]
    assert [identity.holds for identity in refused] == [False]


def test_a_model_that_sees_the_future_fails_an_identity():
    model = order_one_model()
    for block in model.blocks:
        block.attn.visible = type(block.attn.visible)(causal=False)
    failed = {i.statement for i in run(model, random_tokens(), SHORT).identities if not i.holds}
    assert len([statement for statement in failed if "prefix" in statement]) == 2


def test_the_fit_finds_the_three_terms_and_none_is_negative():
    lengths = (8, 16, 32, 64, 128, 192, 256)
    n = np.array(lengths, dtype=float)
    found = fit(lengths, 3e-3 + 2e-5 * n + 5e-8 * n**2)
    assert found.constant == pytest.approx(3e-3)
    assert found.by_position == pytest.approx(2e-5)
    assert found.by_pair == pytest.approx(5e-8)
    assert found.share_of_pairs(256) == pytest.approx(5e-8 * 256**2 / found.at(256))
    falling = fit(lengths, 3e-3 - 5e-6 * n)
    assert min(falling.constant, falling.by_position, falling.by_pair) == 0
    assert falling.constant > 0


def test_lengths_reach_the_context_and_are_told_apart():
    assert sizes(256) == (8, 16, 32, 64, 128, 192, 256)
    assert sizes(4) == (1, 2, 3, 4)
    assert all(sizes(n)[-1] == n and len(set(sizes(n))) >= 4 for n in range(4, 300))


def test_each_round_and_length_is_timed_in_both_ways():
    model = order_one_model()
    found = times(model, forward_flops(model.cfg), seconds=0.05)
    assert found.lengths == sizes(9)
    assert found.fused.shape == found.materialised.shape
    assert 5 <= len(found.fused) <= MOST_ROUNDS
    assert (found.fused > 0).all()
    assert found.logit_difference < 1e-12


def test_a_short_budget_shortens_long_prompts_and_says_so():
    model = order_one_model(n_ctx=4096, positional_embedding_type="none")
    result = run(model, random_tokens(), SHORT)
    assert result.numbers["longest_prompt_timed"] < 4096
    assert f"a prompt of {result.numbers['longest_prompt_timed']} took" in result.verdict
