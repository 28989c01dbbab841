"""The invariants on bridges: from a user's own tests in two lines, and with nothing left behind."""

from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import DynamicCache
from transformers.models.llama import modeling_llama

from interp.invariants import INVARIANTS, check, definitions
from interp.other_weights import other_weights
from interp.testing import invariants_of
from tests.interp.bridges import bridge, running

TOKENS = torch.tensor([[5, 9, 31, 6, 9], [3, 4, 8, 22, 7]])


def named(*names: str) -> list:
    return [invariant for invariant in INVARIANTS if invariant.name in names]


def test_two_lines_make_tests_of_a_bridge() -> None:
    test_mine = invariants_of(lambda: (bridge("gpt2"), TOKENS))
    (mark,) = test_mine.pytestmark
    cases = {case.id: case.values for case in mark.args[1]}
    for name in ("causality", "stream-sum", "direct-attribution", "last-lens"):
        test_mine(*cases[name])
    with pytest.raises(pytest.skip.Exception, match="a TransformerBridge is not built of blocks"):
        test_mine(*cases["engines-agree"])
    test_another = invariants_of(lambda: (bridge("opt"), TOKENS))
    with pytest.raises(pytest.fail.Exception, match="pattern-softmax"):
        test_another(*cases["pattern-softmax"])


@pytest.mark.parametrize("case", ["gptj", "phi", "bloom", "opt"])
def test_mlps_beside_attention_and_without_gates_are_computed_again(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bridge(case)
    with running(), torch.no_grad():
        (right,) = check(model, TOKENS, named("mlp-form"))
    assert right.passed
    # BLOOM's sqrt(2 / pi) has eight digits in transformers.
    assert right.error < (1e-10 if case == "bloom" else 1e-12)
    monkeypatch.setitem(definitions.ACTIVATIONS, definitions._activation(model), torch.sin)
    with running():
        (wrong,) = check(model, TOKENS, named("mlp-form"))
    assert wrong.failed
    assert wrong.where.startswith("blocks.")


@pytest.mark.parametrize("case", ["olmo2", "granite", "gemma2", "gemma3_text"])
@pytest.mark.parametrize("kind", ["booted", "folded"])
def test_norms_behind_a_layer_and_shares_of_what_it_writes_are_reckoned_with(case: str, kind: Any) -> None:
    model = bridge(case, kind)
    with running():
        some = named("norm-form", "mlp-form", "ov-circuit", "head-sum", "direct-attribution")
        assert {outcome.name: outcome.passed for outcome in check(model, TOKENS, some)} == dict.fromkeys(
            [invariant.name for invariant in some], True
        )


@pytest.mark.parametrize("case", ["gpt2", "llama"])
def test_points_that_a_bridge_neglects_are_listed_and_its_weights_come_back(case: str) -> None:
    model = bridge(case)
    with running(), torch.no_grad():
        before = model(TOKENS)
        (told,) = check(model, TOKENS, named("points-live"))
        assert torch.equal(model(TOKENS), before)
    assert told.passed
    silent = {"gpt2": "blocks.*.attn.qkv.hook_out", "llama": "rotary_emb.hook_out"}
    assert silent[case] in told.note
    assert "blocks.*.hook_resid_mid" in told.note


def test_what_needs_an_edit_that_the_bridge_throws_away_says_nothing() -> None:
    with running():
        patterns, stream = check(bridge("opt"), TOKENS, named("atp-frozen", "duality"))
    assert "throws away what the edit at blocks.0.attn.hook_pattern returns" in patterns.skipped
    assert patterns.passed is None
    assert stream.passed


@pytest.mark.parametrize("case", ["llama", "phi", "gemma2", "llama, linear", "granite"])
def test_the_angles_of_a_bridge_are_those_of_its_config(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bridge(case)
    with running():
        (right,) = check(model, TOKENS, named("qk-form"))
        # TransformerLens turns the queries and keys of all of these with Llama's function.
        turned = modeling_llama.rotate_half
        monkeypatch.setattr(modeling_llama, "rotate_half", lambda x: -turned(x))
        (backwards,) = check(model, TOKENS, named("qk-form"))
    assert right.passed
    assert right.error < 1e-12
    # Backwards, queries and keys still meet at their distance: only the order of a pair's two coordinates is another.
    assert backwards.failed
    assert backwards.where.startswith("blocks.")
    assert "query" in backwards.where


def test_scaled_angles_and_normed_queries_are_told_not_passed() -> None:
    with running():
        (scaled,) = check(bridge("llama 3.1"), TOKENS, named("qk-form"))
        (normed,) = check(bridge("qwen3"), TOKENS, named("qk-form"))
    assert "rotary positions enter the scores in a way" in scaled.skipped
    assert "normed before their product" in normed.skipped


@pytest.mark.parametrize("case", ["gpt2", "llama", "gemma3_text", "bloom"])
def test_a_bridge_is_taken_apart_cached_and_processed(case: str) -> None:
    some = named("components-sum", "shares-sum", "kv-cache", "fold-norms")
    with running(), torch.no_grad():
        before = bridge(case)(TOKENS)
        found = check(bridge(case), TOKENS, some)
        assert torch.equal(bridge(case)(TOKENS), before)
    assert [(outcome.name, outcome.raised) for outcome in found if outcome.failed] == []
    assert [outcome.passed for outcome in found] == [True] * 4
    with running():
        (again,) = check(bridge(case, "folded"), TOKENS, named("fold-norms"))
    assert "processed already" in again.skipped


@pytest.mark.parametrize("kind", ["cohere", "falcon"])
def test_a_kind_of_bridge_that_is_not_known_is_not_said_to_fail(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bridge("llama")
    some = named("qk-form", "mlp-form", "components-sum", "shares-sum")
    with running():
        assert [outcome.passed for outcome in check(model, TOKENS, some)] == [True] * 4
        monkeypatch.setattr(model.original_model.config, "model_type", kind)
        for outcome in check(model, TOKENS, some):
            assert f"a bridge around {kind!r}" in outcome.skipped


def test_a_wrong_cache_and_a_wrong_processing_of_a_bridge_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    model, update, process = bridge("llama"), DynamicCache.update, TransformerBridge.enable_compatibility_mode

    def stretched(self: Any, new: torch.Tensor, *args: Any, **options: Any) -> Any:
        keys, values = update(self, new, *args, **options)
        return (keys if keys.shape == new.shape else 1.01 * keys), values

    def louder(self: Any, **options: Any) -> None:
        process(self, **options)
        with torch.no_grad():
            self.unembed.original_component.weight.mul_(1.01)

    with running():
        monkeypatch.setattr(DynamicCache, "update", stretched)
        (cached,) = check(model, TOKENS, named("kv-cache"))
        monkeypatch.undo()
        monkeypatch.setattr(TransformerBridge, "enable_compatibility_mode", louder)
        (processed,) = check(model, TOKENS, named("fold-norms"))
    assert cached.failed
    assert processed.failed
    assert min(cached.error, processed.error) > 1e-6


def test_a_dead_point_of_a_bridge_fails() -> None:
    with running():
        dead, shown = check(bridge("opt"), TOKENS, named("points-live", "pattern-softmax"))[::-1]
    assert dead.failed
    assert "edits change nothing at pos_embed.hook_in" in dead.note
    assert "blocks.*.attn.hook_pattern" in dead.note
    assert shown.failed  # Its scores are patterns.


def test_other_weights_act_within_the_block_alone() -> None:
    model = bridge("llama")
    zeros = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    with running(), torch.no_grad():
        before = model(TOKENS)
        with other_weights(model, zeros):
            assert not model(TOKENS).any()
        assert torch.equal(model(TOKENS), before)
        with pytest.raises(RuntimeError, match="stop"), other_weights(model, zeros):
            raise RuntimeError("stop")
        assert torch.equal(model(TOKENS), before)
        with pytest.raises(KeyError), other_weights(model, {"none": torch.zeros(1)}):
            pass
