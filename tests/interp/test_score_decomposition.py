import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.testing import assert_close
from transformer_lens.model_bridge import TransformerBridge

from interp.errors import NotASumError, OutOfRangeError, ShapeError
from interp.score_decomposition import score_terms
from tests.conftest import SMALL, order_one_model, random_tokens
from tests.interp.test_hooks import native_bridge
from tests.models.configurations import LOCAL, configurations

TOKENS = random_tokens(batch=2, length=6)
QUERIES = torch.tensor([5, 3])


def assert_sums(model, layer=1, head=2):
    found = score_terms(model, TOKENS, layer, head, QUERIES)
    _, cache = model.run_with_cache(TOKENS)
    scores = cache["attn_scores", layer][torch.arange(2), head, QUERIES].detach().double()
    allowed = scores > -1e30
    assert torch.equal(found.visible, allowed)
    assert_close(found.summed()[allowed], scores[allowed])
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=configurations(norm_placement="pre", use_qk_norm=False))
def test_the_terms_sum_to_the_score_whatever_the_options(changes):
    if changes["positional_embedding_type"] == "shortformer":
        changes = changes | {"positional_embedding_type": "standard"}
    assert_sums(order_one_model(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"positional_embedding_type": "rotary", "rotary_dim": 4},
        {"positional_embedding_type": "rotary", "rotary_adjacent_pairs": True, "n_key_value_heads": 2},
        {"positional_embedding_type": "rotary", "use_NTK_by_parts_rope": True, "NTK_original_ctx_len": 400},
        {"positional_embedding_type": "rotary", "rotary_scaling_factor": 2.5, "rotary_base_local": 50.0, **LOCAL},
        {"scale_attn_by_inverse_layer_idx": True},
        {"use_normalization_before_and_after": True, "use_split_qkv_input": True},
    ],
    ids=str,
)
def test_the_terms_sum_to_the_score_of_every_head(changes):
    model = order_one_model(**changes)
    for layer in range(2):
        for head in range(4):
            assert_sums(model, layer, head)


def test_a_bridge_s_scores_are_taken_apart_like_ours():
    # Its hook_attn_scores is the pattern once more, so the pattern is what its scores are compared with.
    found = score_terms(native_bridge(), TOKENS, 1, 2, QUERIES)
    assert found.visible.tolist() == [[True] * 6, [True] * 4 + [False] * 2]
    pattern = found.summed().masked_fill(~found.visible, -torch.inf).softmax(dim=-1)
    assert_close(pattern, found.pattern, rtol=1e-5, atol=1e-5)  # bridges are float32


def test_a_bridge_with_grouped_keys_keeps_one_matrix_a_group():
    config = {name: SMALL[name] for name in ("n_layers", "n_heads", "d_model", "d_mlp", "d_vocab", "n_ctx")}
    grouped = {**config, "d_head": 3, "n_key_value_heads": 2, "act_fn": "gelu", "normalization_type": "LN", "seed": 0}
    bridge = TransformerBridge.boot_native(grouped).eval()
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    assert bridge.blocks[1].attn.W_K.shape[0] == 2
    for head in range(4):
        found = score_terms(bridge, TOKENS, 1, head, QUERIES)
        pattern = found.summed().masked_fill(~found.visible, -torch.inf).softmax(dim=-1)
        assert_close(pattern, found.pattern, rtol=1e-5, atol=1e-5)


def test_a_term_is_what_the_product_of_the_two_writes_makes_it():
    model = order_one_model(normalization_type=None)
    found = score_terms(model, TOKENS, 1, 2, QUERIES)
    _, cache = model.run_with_cache(TOKENS)
    z, attention = cache["z", 0].detach(), model.blocks[1].attn
    head = z[0, :, 3] @ model.W_O[0, 3].detach()
    embed = cache["hook_embed"][0].detach()
    expected = (embed[5] @ attention.W_Q[2]) @ (head @ attention.W_K[2]).T / 6**0.5
    at = found.query_writers.index("embed"), found.key_writers.index("L0H3")
    assert_close(found.terms[(0, *at)], expected.detach())
    assert (found.query_writers[-1], found.key_writers[-1]) == ("b_Q", "b_K")


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({}, {"norm bias", "b_K"}),
        ({"normalization_type": None}, {"norm bias", "b_K", "L0 b_O", "L0 b_out"}),
        ({"positional_embedding_type": "rotary"}, set()),
        ({"attn_scores_soft_cap": 3.0}, set()),
    ],
)
def test_what_softmax_drops_is_the_same_for_every_key_and_removing_it_changes_no_pattern(changes, dropped):
    model = order_one_model(**changes)
    found = score_terms(model, TOKENS, 1, 2, QUERIES)
    assert {label for label, gone in zip(found.key_writers, found.dropped, strict=True) if gone} == dropped
    constant = found.terms[:, :, found.dropped]
    assert_close(constant, constant[..., :1].expand_as(constant))
    kept = found.terms[:, :, ~found.dropped].sum(dim=(1, 2))
    if not model.cfg.attn_scores_soft_cap > 0:
        pattern = kept.masked_fill(~found.visible, -torch.inf).softmax(dim=-1)
        assert_close(pattern, found.pattern)


def test_centred_terms_give_the_pattern_and_differences_are_those_of_the_score():
    found = score_terms(order_one_model(), TOKENS, 1, 2, QUERIES)
    centred = found.centred()
    assert_close(centred.sum(dim=(1, 2)).masked_fill(~found.visible, -torch.inf).softmax(-1), found.pattern)
    assert_close((centred * found.visible[:, None, None]).sum(-1), torch.zeros_like(centred[..., 0]))
    key = torch.tensor([2, 1])
    others = [found.scores[0, [0, 1, 3, 4, 5]].mean(), found.scores[1, [0, 2, 3]].mean()]
    expected = torch.stack([found.scores[0, 2] - others[0], found.scores[1, 1] - others[1]])
    assert_close(found.against_others(key).sum(dim=(1, 2)), expected)


def test_what_is_not_there_or_no_sum_is_refused(as_users_run_it):
    model = order_one_model()
    for wrong, message in [
        ((2, 0, QUERIES), "layer 2 is not there: the model has 2"),
        ((0, 4, QUERIES), "head 4 is not there: the model has 4"),
        ((0, 0, torch.tensor([0, 6])), "queries range from 0 to 6; the prompts have 6"),
    ]:
        with pytest.raises(OutOfRangeError, match=message):
            score_terms(model, TOKENS, *wrong)
    with pytest.raises(ShapeError, match=r"\[3\] queries for 2 prompts"):
        score_terms(model, TOKENS, 0, 0, torch.tensor([0, 1, 2]))
    with pytest.raises(NotASumError, match="post-norm"):
        score_terms(order_one_model(norm_placement="post"), TOKENS, 0, 0, QUERIES)
    with pytest.raises(NotASumError, match="shortformer positions enter the scores"):
        score_terms(order_one_model(positional_embedding_type="shortformer"), TOKENS, 0, 0, QUERIES)
    model.blocks[0].attn.q_norm = torch.nn.Identity()
    with pytest.raises(NotASumError, match="queries and keys are normed"):
        score_terms(model, TOKENS, 0, 0, QUERIES)
