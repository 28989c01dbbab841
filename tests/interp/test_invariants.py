"""Every identity holds on every architecture, and each one dies when the model is broken in the way it guards."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor
from transformer_lens import TransformerLensKeyValueCache

from interp import TokensError
from interp.invariants import INVARIANTS, Invariant, check, points
from interp.invariants.invariant import Bounded, NothingToMeasureError
from models.hook_point import HookPoint
from tests.conftest import order_one_model, random_tokens
from tests.interp.mutations import MUTATIONS, Mutation
from tests.interp.test_hooks import native_bridge
from tests.models.configurations import configurations

BY_NAME = {invariant.name: invariant for invariant in INVARIANTS}
TOKENS = random_tokens(batch=2, length=6)

ARCHITECTURES: list[dict[str, object]] = [
    {},
    {"n_layers": 1, "n_heads": 1, "d_head": 12, "attn_only": True, "qkv_bias": False, "tie_word_embeddings": True},
    {"n_key_value_heads": 2, "positional_embedding_type": "rotary", "gated_mlp": True, "normalization_type": "RMS"},
    {"n_key_value_heads": 2, "use_split_qkv_input": True, "use_attn_result": True, "use_hook_mlp_in": True},
    {"n_key_value_heads": 2, "ungroup_grouped_query_attention": True, "use_attn_in": True, "use_hook_tokens": True},
    {"norm_placement": "post", "residual_scale": 1.7, "positional_embedding_type": "none"},
    {"norm_placement": "post", "attn_only": True, "normalization_type": "ScaleNorm"},
    {"parallel_attn_mlp": True, "positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_adjacent_pairs": True},
    {"normalization_type": None, "act_fn": "relu", "scale_attn_by_inverse_layer_idx": True, "n_layers": 3},
    {"normalization_type": "RMSPre", "use_normalization_before_and_after": True, "attn_scores_soft_cap": 3.0},
    {"normalization_type": "LNPre", "act_fn": "solu_ln", "output_logits_soft_cap": 5.0, "d_vocab_out": 5},
    {"attention_dir": "bidirectional", "use_attn_scale": False, "normalization_type": "ScaleNorm", "final_rms": True},
    {"use_local_attn": True, "window_size": 3, "attn_types": ("global", "local"), "final_rms": True},
    {"use_local_attn": True, "window_size": 1, "attn_types": ("local", "global"), "final_norm": False},
    {"attn_only": True, "n_layers": 3, "n_key_value_heads": 2, "normalization_type": None},
    {"attn_only": True, "n_layers": 1, "positional_embedding_type": "none", "normalization_type": None},
    {"positional_embedding_type": "shortformer", "n_key_value_heads": 2},
]

ONE_LOCAL = ARCHITECTURES[13]
ONE_KEY = {"use_local_attn": True, "window_size": 1, "attn_types": ("local", "local")}


def failures(model: object, tokens: Tensor = TOKENS) -> dict[str, float | None]:
    """The errors of the invariants that do not hold."""
    return {outcome.name: outcome.error for outcome in check(model, tokens) if outcome.passed is False}


@pytest.mark.parametrize(
    "changes", [*ARCHITECTURES, ONE_KEY], ids=lambda changes: "-".join(map(str, changes)) or "plain"
)
def test_every_identity_holds_on_every_architecture(changes: dict[str, object], as_users_run_it: None) -> None:
    # Shapes and types are executed by the other tests: here they would take three times as long as the identities.
    assert failures(order_one_model(**changes)) == {}


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=configurations())
def test_every_identity_holds_whatever_the_options(as_users_run_it: None, changes: dict[str, object]) -> None:
    assert failures(order_one_model(**changes)) == {}


def test_every_identity_says_something_about_some_architecture() -> None:
    models = [order_one_model(**changes) for changes in ARCHITECTURES]
    assert [invariant.name for invariant in INVARIANTS if not any(map(invariant.applies, models))] == []
    assert len(BY_NAME) == len(INVARIANTS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_tolerances_leave_room_for_rounding(dtype: torch.dtype, as_users_run_it: None) -> None:
    assert failures(order_one_model(dtype=dtype)) == {}


@pytest.mark.parametrize(
    ("name", "mutate", "changes"),
    [pytest.param(name, mutate, changes, id=f"{name}: {what}") for name, what, mutate, changes in MUTATIONS],
)
def test_a_broken_model_is_caught(
    name: str, mutate: Mutation, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = order_one_model(**changes)
    (sound,) = check(model, TOKENS, [BY_NAME[name]])
    assert sound.passed is True
    mutate(model, monkeypatch)
    (broken,) = check(model, TOKENS, [BY_NAME[name]])
    assert broken.passed is False
    assert broken.error is not None
    assert broken.error > 10 * broken.tolerance


def test_every_invariant_has_been_seen_to_fail() -> None:
    assert {name for name, *_ in MUTATIONS} == set(BY_NAME)


READ_AS_A_SUM = {"stream-sum", "direct-attribution", "skip-gradient"}
ROUNDED_AWAY = {
    *("ablation-algebra", "all-edges", "atp-frozen", "atp-order", "circuit-ends", "duality", "edge-sum"),
    *(
        "initial-loss",
        "integrated-gradients",
        "jacobian-sum",
        "lens-kl",
        "lens-scale",
        "lens-shift",
        "engines-agree",
        "points-live",
    ),
    *("normalised-effect", "optimal-constant", "query-edge", "score-variance", "shapley-sum", "swapped-roles"),
    "uniform-kl",
}
OBSTACLES: list[tuple[dict[str, object], set[str], set[str]]] = [
    (
        {"norm_placement": "post"},
        {*READ_AS_A_SUM, "lens-scale", "lens-shift", "centre-writing", "edge-sum", "all-edges"},
        {"components-sum", "shares-sum", "fold-norms", "query-edge"},
    ),
    ({"attention_dir": "bidirectional"}, {"causality", "locality", "equal-prefix"}, {"pattern-mask", "kv-cache"}),
    ({"positional_embedding_type": "rotary"}, {"qk-gauge", "key-bias"}, {"uniform-kl"}),
    ({"attn_scores_soft_cap": 3.0}, {"key-bias"}, {"score-variance", "uniform-kl"}),
    ({"output_logits_soft_cap": 3.0}, {"atp-frozen", "jacobian-sum", "centre-unembed"}, {"initial-loss"}),
    (ONE_LOCAL, {"points-live", "lens-scale", "lens-shift", "centre-writing"}, set()),
    (ONE_KEY, {"points-live", "key-bias"}, set()),
    ({"dtype": torch.bfloat16}, {"points-live"}, ROUNDED_AWAY - {"points-live"}),
    ({"dtype": torch.float32}, set(), {"atp-order"}),
    ({"n_layers": 1}, set(), {"stream-seam", "virtual-head"}),
    ({"n_heads": 1}, set(), {"head-order"}),
    ({"qkv_bias": False}, set(), {"value-bias", "key-bias"}),
    ({"attn_only": True}, set(), {"mlp-form"}),
    ({"normalization_type": "RMS"}, {"centre-writing", "lens-shift"}, set()),
    ({"normalization_type": None}, {"centre-writing", "lens-scale", "lens-shift"}, {"fold-norms", "norm-form"}),
    ({"tie_word_embeddings": True}, set(), {"centre-unembed", "initial-loss"}),
]
"""What obstructs which identities: those that it breaks, and those that it leaves without meaning or precision."""


@pytest.mark.parametrize(
    ("changes", "broken", "meaningless"), OBSTACLES, ids=lambda given: "-".join(sorted(map(str, given)))
)
def test_an_identity_that_an_architecture_breaks_is_skipped_with_the_reason(
    changes: dict[str, object], broken: set[str], meaningless: set[str]
) -> None:
    model = order_one_model(**changes)
    always = {"path-sum", "path-orders", "token-order"}
    obstructed = [each for each in INVARIANTS if not each.applies(model) and each.name not in always]
    assert {invariant.name for invariant in obstructed} == broken | meaningless
    for outcome in check(model, TOKENS, obstructed):
        assert outcome.skipped
        assert outcome.error is outcome.passed is None
    for name in broken:
        # The obstacle is a real one: measured all the same, the identity does not hold.
        unobstructed = replace(BY_NAME[name], obstacle=always_applies)
        (outcome,) = check(model, TOKENS, [unobstructed])
        assert outcome.error is not None, outcome
        assert not outcome.error < 1e-3, name


def always_applies(model: object) -> None:
    """No obstacle."""


def test_paths_and_orders_are_obstructed_by_what_stands_between() -> None:
    plain, alone = order_one_model(), order_one_model(attn_only=True)
    assert not any(BY_NAME[name].applies(plain) for name in ("path-sum", "path-orders", "token-order"))
    assert all(BY_NAME[name].applies(alone) for name in ("path-sum", "path-orders"))


def test_a_model_that_raises_fails_one_identity_and_is_asked_the_others() -> None:
    def lost(model: object, tokens: Tensor) -> float:
        raise ValueError("lost")

    outcomes = check(order_one_model(), TOKENS, [Invariant("lost", "", lost), BY_NAME["causality"]])
    assert [outcome.failed for outcome in outcomes] == [True, False]
    assert (outcomes[0].raised, outcomes[0].error) == ("ValueError: lost", None)


def test_what_cannot_be_measured_on_these_tokens_is_skipped_and_a_measured_tolerance_widens() -> None:
    def nothing(model: object, tokens: Tensor) -> float:
        raise NothingToMeasureError("all alike")

    wide = Invariant("wide", "", lambda model, tokens: Bounded(0.1, 0.2))
    narrow = Invariant("narrow", "", lambda model, tokens: Bounded(0.1, 0.0))
    model = order_one_model()
    assert Invariant("nothing", "", nothing).outcome(model, TOKENS).skipped == "all alike"
    assert wide.outcome(model, TOKENS).passed is True
    assert wide.outcome(model, TOKENS).tolerance == 0.2
    assert narrow.outcome(model, TOKENS).passed is False


def test_an_error_that_is_not_a_number_does_not_pass(as_users_run_it: None) -> None:
    model = order_one_model()
    nan = Invariant("nan", "", lambda model, tokens: float("nan"))
    assert nan.outcome(model, TOKENS).passed is False
    with torch.no_grad():
        model.blocks[1].attn.W_V[0, 0, 0] = torch.nan
    assert {"ov-circuit", "last-lens", "looking"} <= set(failures(model))


def test_a_check_leaves_the_model_as_it_was(as_users_run_it: None) -> None:
    model = order_one_model()
    model.add_hook("blocks.0.hook_resid_pre", lambda value, hook: None)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    cfg, state, logits = model.cfg, torch.get_rng_state(), model(TOKENS)
    check(model, TOKENS)
    assert model.cfg == cfg
    assert [len(point.fwd_hooks) for point in model.hook_dict.values() if point.fwd_hooks] == [1]
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model(TOKENS), logits)


@pytest.mark.parametrize("shape", [(2, 2), (0, 5), (6,)])
def test_tokens_that_test_too_little_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises((TokensError, Exception), match=r"3 positions or more|Type-check"):
        check(order_one_model(), torch.zeros(shape, dtype=torch.long))
    check(order_one_model(), torch.zeros(1, 3, dtype=torch.long), INVARIANTS[:1])


@pytest.mark.filterwarnings("ignore:A hook on .* returned a modified tensor:UserWarning")
def test_transformerlens_own_model_is_told_its_defects(as_users_run_it: None) -> None:
    # Its hook_attn_scores is handed the pattern.
    assert set(failures(native_bridge())) == {"qk-form", "pattern-softmax"}
    (told,) = check(native_bridge(), TOKENS, [one for one in INVARIANTS if one.name == "points-live"])
    for name in ("blocks.*.attn.hook_attn_scores", "blocks.*.attn.hook_hidden_states", "blocks.*.hook_resid_mid"):
        assert name in told.note


def test_the_cache_s_class_is_the_one_that_a_model_takes() -> None:
    model = order_one_model()
    cache = TransformerLensKeyValueCache.init_cache(model.cfg, TOKENS.device, TOKENS.shape[0])
    model(TOKENS, past_kv_cache=cache)
    assert cache[0].past_keys.shape[1] == TOKENS.shape[1]


class Deaf(HookPoint):
    """A point that calls its hooks and takes nothing from them."""

    def __call__(self, x):
        super().__call__(x)
        return x


def test_points_are_alive_on_whatever_tokens_are_given():
    # Where every token is the same, so is every key, and no score matters.
    (outcome,) = check(order_one_model(), torch.full((2, 6), 5), [BY_NAME["points-live"]])
    assert outcome.passed, outcome.note


@pytest.mark.parametrize("found_together", [True, False])
def test_a_dead_point_of_one_block_among_others_is_told(found_together, monkeypatch):
    model = order_one_model(n_layers=3)
    if not found_together:
        monkeypatch.setattr(points, "_live_in_a_row", lambda model, row: set())
    model.blocks[1].hook_mlp_out.__class__ = Deaf
    (outcome,) = check(model, TOKENS, [BY_NAME["points-live"]])
    assert (outcome.error, outcome.passed) == (1.0, False)
    assert outcome.note == "edits change nothing at blocks.1.hook_mlp_out"


def test_a_failure_says_in_which_block_head_and_position_it_is_worst() -> None:
    model = order_one_model(n_layers=3, n_heads=3)
    some = [BY_NAME[name] for name in ("pattern-rows", "qk-form", "norm-form", "stream-sum", "pattern-mask")]
    assert all(outcome.passed for outcome in check(model, TOKENS, some))

    def louder(pattern: Tensor, hook: HookPoint) -> Tensor:
        pattern[1, 2, 4, 3] += 0.5
        return pattern

    model.blocks[1].attn.hook_pattern.add_perma_hook(louder)
    model.blocks[2].attn.attn_scale *= 1.3
    model.blocks[0].ln2.eps = 1.0
    found = {outcome.name: outcome for outcome in check(model, TOKENS, some)}
    assert found["pattern-rows"].where == "blocks.1, prompt 1, head 2, query 4"
    assert found["qk-form"].where.startswith("blocks.2, prompt ")
    assert found["norm-form"].where.startswith("blocks.0.ln2")
    assert found["pattern-mask"].where == ""
    assert {name for name, outcome in found.items() if outcome.failed} == {"norm-form", "pattern-rows", "qk-form"}
