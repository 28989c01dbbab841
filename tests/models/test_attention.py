import itertools

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from models import HookedTransformer
from models.attention import Attention
from models.masks import AttentionContext
from tests.conftest import order_one_model, random_tokens, small_config

SCORES, PATTERN, Z = (f"blocks.0.attn.hook_{name}" for name in ("attn_scores", "pattern", "z"))
VARIANTS = {
    "causal": {},
    "bidirectional": {"attention_dir": "bidirectional"},
    "window": {"use_local_attn": True, "window_size": 3, "attn_types": ("local", "local")},
    "bidirectional window": {
        "attention_dir": "bidirectional", "use_local_attn": True, "window_size": 2, "attn_types": ("local", "global")
    },
    "soft cap": {"attn_scores_soft_cap": 1.5},
    "unscaled": {"use_attn_scale": False},
    "by layer": {"scale_attn_by_inverse_layer_idx": True},
    "given scale": {"attn_scale": 3.0},
    "grouped": {"n_key_value_heads": 2},
    "rotary": {"positional_embedding_type": "rotary"},
}  # fmt: skip
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())


def inputs(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@variants
def test_rows_of_the_pattern_sum_to_one_and_nothing_forbidden_is_looked_at(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    _, cache = model.run_with_cache(tokens)
    for layer in range(2):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        assert_close(pattern.sum(-1), torch.ones(3, 4, 7, dtype=torch.float64))
        assert pattern.min() >= 0
        for query, key in itertools.product(range(7), repeat=2):
            local = model.cfg.use_local_attn and model.cfg.attn_types[layer] == "local"
            hidden = (key > query and model.cfg.attention_dir == "causal") or (
                local and abs(query - key) >= model.cfg.window_size
            )
            assert (pattern[:, :, query, key] == 0).all() == hidden


@variants
def test_looking_at_the_pattern_changes_nothing(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    fused = model(tokens)
    for name in (SCORES, PATTERN):
        assert_close(model.run_with_cache(tokens, names_filter=name)[0], fused)
        assert_close(model.run_with_hooks(tokens, fwd_hooks=[(name, lambda a, hook: None)]), fused)


@pytest.mark.parametrize("token", range(7))
def test_editing_a_token_leaves_the_logits_before_it_bit_for_bit(token):
    model, tokens = order_one_model(), random_tokens()
    edited = tokens.clone()
    edited[:, token] = (edited[:, token] + 1) % 17
    with torch.no_grad():
        before, after = model(tokens), model(edited)
    assert torch.equal(before[:, :token], after[:, :token])
    assert (before[:, token:] - after[:, token:]).abs().amax(dim=(0, 2)).min() > 1e-3


def test_a_bidirectional_model_looks_ahead():
    model, tokens = order_one_model(attention_dir="bidirectional"), random_tokens()
    edited = tokens.clone()
    edited[:, -1] = (edited[:, -1] + 1) % 17
    assert (model(tokens)[:, 0] - model(edited)[:, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("layer", [0, 1])
def test_the_scores_are_the_bilinear_form_of_the_stream_with_its_three_bias_terms(layer):
    model, tokens = order_one_model(), random_tokens()
    _, cache = model.run_with_cache(tokens)
    attn = model.blocks[layer].attn
    x = cache[f"blocks.{layer}.ln1.hook_normalized"] * model.blocks[layer].ln1.w + model.blocks[layer].ln1.b
    for head in range(4):
        QK = attn.QK[head].AB
        scores = x @ QK @ x.transpose(1, 2)
        scores = scores + (x @ attn.W_Q[head] @ attn.b_K[head])[:, :, None]
        scores = scores + (x @ attn.W_K[head] @ attn.b_Q[head])[:, None, :] + attn.b_Q[head] @ attn.b_K[head]
        seen = torch.ones(7, 7).tril().bool()
        cached = cache[f"blocks.{layer}.attn.hook_attn_scores"][:, head]
        assert_close((scores / 6**0.5)[:, seen], cached[:, seen])
        assert (cached[:, ~seen] == -torch.inf).all()


def test_the_pattern_times_OV_is_what_each_head_writes():
    model, tokens = order_one_model(use_attn_result=True), random_tokens()
    _, cache = model.run_with_cache(tokens)
    attn = model.blocks[0].attn
    x = cache["blocks.0.ln1.hook_normalized"] * model.blocks[0].ln1.w + model.blocks[0].ln1.b
    for head in range(4):
        written = cache[PATTERN][:, head] @ x @ attn.OV[head].AB + attn.b_V[head] @ attn.W_O[head]
        assert_close(written, cache["blocks.0.attn.hook_result"][:, :, head])
    assert_close(cache["blocks.0.attn.hook_result"].sum(2) + attn.b_O, cache["blocks.0.hook_attn_out"])


def test_the_key_bias_has_no_gradient_because_softmax_does_not_see_it():
    model, tokens = order_one_model(), random_tokens()
    model(tokens, return_type="loss").backward()
    for block in model.blocks:
        assert_close(block.attn.b_K.grad, torch.zeros_like(block.attn.b_K))
        assert block.attn.b_Q.grad.abs().max() > 1e-6


def test_logits_and_circuits_do_not_depend_on_the_basis_inside_a_head():
    model, tokens = order_one_model(), random_tokens()
    changed = order_one_model()
    A, B = inputs(2, 4, 6, 6, seed=1), inputs(2, 4, 6, 6, seed=2)
    with torch.no_grad():
        for layer, block in enumerate(changed.blocks):
            attn = block.attn
            inverse_A, inverse_B = torch.linalg.inv(A[layer]), torch.linalg.inv(B[layer])
            attn.b_Q.copy_((attn.b_Q[:, None] @ A[layer])[:, 0])
            attn.b_K.copy_((attn.b_K[:, None] @ inverse_A.mT)[:, 0])
            attn.b_V.copy_((attn.b_V[:, None] @ B[layer])[:, 0])
            attn.W_Q.copy_(attn.W_Q @ A[layer])
            attn.W_K.copy_(attn.W_K @ inverse_A.mT)
            attn.W_V.copy_(attn.W_V @ B[layer])
            attn.W_O.copy_(inverse_B @ attn.W_O)
    # Random 6 x 6 matrices have condition numbers up to some hundreds, which multiply the rounding.
    assert_close(changed(tokens), model(tokens), rtol=1e-9, atol=1e-9)
    assert_close(changed.QK.AB, model.QK.AB, rtol=1e-9, atol=1e-9)
    assert_close(changed.OV.AB, model.OV.AB, rtol=1e-9, atol=1e-9)
    assert (changed.W_Q - model.W_Q).abs().max() > 0.1


def test_the_order_of_the_heads_does_not_matter():
    model, tokens, order = order_one_model(), random_tokens(), [2, 0, 3, 1]
    permuted = order_one_model()
    with torch.no_grad():
        for block in permuted.blocks:
            for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
                weight = getattr(block.attn, name)
                weight.copy_(weight[order].clone())
    assert_close(permuted(tokens), model(tokens))
    _, cache = model.run_with_cache(tokens, names_filter=PATTERN)
    _, of_permuted = permuted.run_with_cache(tokens, names_filter=PATTERN)
    assert_close(of_permuted[PATTERN], cache[PATTERN][:, order])


@pytest.mark.parametrize("attn_only", [True, False])
def test_one_layer_without_positions_sees_earlier_tokens_as_a_set(attn_only):
    model = order_one_model(n_layers=1, positional_embedding_type="none", attn_only=attn_only)
    tokens = random_tokens()
    shuffled = tokens[:, [3, 0, 5, 2, 4, 1, 6]]
    assert_close(model(shuffled)[:, -1], model(tokens)[:, -1])
    with_positions = order_one_model(n_layers=1, attn_only=attn_only)
    assert (with_positions(shuffled)[:, -1] - with_positions(tokens)[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("changes", [{}, {"positional_embedding_type": "rotary"}, {"qkv_bias": False}], ids=str)
@pytest.mark.parametrize("ungrouped", [False, True])
def test_grouped_queries_equal_ordinary_attention_with_repeated_weights(changes, ungrouped):
    grouped = order_one_model(n_key_value_heads=2, ungroup_grouped_query_attention=ungrouped, **changes)
    ordinary = HookedTransformer(small_config(**changes))
    state = {}
    for name, weight in grouped.state_dict().items():
        is_shared = name.rpartition(".")[2].startswith("_")
        state[name.replace("._", ".")] = weight.repeat_interleave(2, dim=0) if is_shared else weight
    ordinary.load_state_dict(state)
    tokens = random_tokens()
    logits, cache = grouped.run_with_cache(tokens)
    expected, of_ordinary = ordinary.run_with_cache(tokens)
    assert_close(logits, expected)
    assert_close(grouped(tokens), expected)
    assert_close(cache[PATTERN], of_ordinary[PATTERN])
    keys = cache["blocks.0.attn.hook_k"]
    assert_close(keys if ungrouped else keys.repeat_interleave(2, dim=2), of_ordinary["blocks.0.attn.hook_k"])
    assert_close(grouped.W_K, ordinary.W_K)


def test_ungrouping_is_refused_while_the_shape_of_a_hooked_point_would_change():
    model, tokens = order_one_model(n_key_value_heads=2), random_tokens()
    logits = model(tokens)
    model.add_hook("blocks.1.attn.hook_v", lambda a, hook: None)
    with pytest.raises(ValueError, match=r"blocks\.1\.attn\.hook_v has hooks"):
        model.set_ungroup_grouped_query_attention(True)
    model.reset_hooks()
    model.set_ungroup_grouped_query_attention(True)
    assert_close(model(tokens), logits)
    assert model.run_with_cache(tokens)[1]["blocks.1.attn.hook_v"].shape == (3, 7, 4, 6)


def test_a_soft_cap_bounds_the_scores_and_caps_by_the_formula():
    plain, capped = order_one_model(), order_one_model(attn_scores_soft_cap=1.5)
    tokens = random_tokens()
    _, free = plain.run_with_cache(tokens, names_filter=SCORES)
    _, bounded = capped.run_with_cache(tokens, names_filter=SCORES)
    expected = torch.where(free[SCORES] > -torch.inf, 1.5 * torch.tanh(free[SCORES] / 1.5), -torch.inf)
    assert_close(bounded[SCORES], expected)
    capped_logits = order_one_model(output_logits_soft_cap=2.0)(tokens)
    assert_close(capped_logits, 2 * torch.tanh(plain(tokens) / 2))


@pytest.mark.parametrize(
    ("field", "layer", "factor"),
    [
        ({"use_attn_scale": False}, 1, 6**0.5),
        ({"scale_attn_by_inverse_layer_idx": True}, 1, 1 / 2),
        ({"attn_scale": 3.0}, 0, 6**0.5 / 3.0),
    ],
)
def test_the_scale_of_the_scores(field, layer, factor):
    q, k = inputs(1, 4, 7, 6, seed=1), inputs(1, 4, 7, 6, seed=2)
    plain, scaled = Attention(small_config(), layer), Attention(small_config(**field), layer)
    context = AttentionContext(7)
    seen = {}
    for name, attn in (("plain", plain), ("scaled", scaled)):
        attn.hook_attn_scores.add_hook(lambda a, hook, name=name: seen.update({name: a.tril()}))
        attn.pattern(q, k, context)
    assert_close(seen["scaled"], factor * seen["plain"])


@pytest.mark.parametrize("variant", ["causal", "rotary", "window", "bidirectional", "soft cap", "grouped"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("observed", [False, True])
def test_padded_equals_unpadded(variant, side, observed):
    model, tokens = order_one_model(**VARIANTS[variant]), random_tokens(length=5)
    where = slice(3, 8) if side == "left" else slice(0, 5)
    padded, mask = torch.full((3, 8), 4), torch.zeros(3, 8, dtype=torch.long)
    padded[:, where], mask[:, where] = tokens, 1
    run = (lambda *a, **k: model.run_with_cache(*a, **k)[0]) if observed else model
    logits = run(padded, attention_mask=mask)
    assert_close(logits[:, where], model(tokens))
    assert logits.isfinite().all()


@pytest.mark.parametrize("observed", [False, True])
def test_a_query_that_may_look_nowhere_gets_a_row_of_zeros(observed):
    model, tokens = order_one_model(), random_tokens()
    mask = torch.ones(3, 7, dtype=torch.long)
    mask[0, :3] = 0
    mask[1] = 0
    names = [Z, PATTERN] if observed else [Z]
    logits, cache = model.run_with_cache(tokens, names_filter=names, attention_mask=mask)
    assert logits.isfinite().all()
    assert cache[Z][0, :3].abs().max() == cache[Z][1].abs().max() == 0
    assert cache[Z][0, 3:].abs().min() > 0
    if observed:
        assert cache[PATTERN][0, :, :3].abs().max() == cache[PATTERN][1].abs().max() == 0
        assert_close(cache[PATTERN][0, :, 3:].sum(-1), torch.ones(4, 4, dtype=torch.float64))


def test_scores_edited_to_minus_infinity_give_zeros_and_no_nan():
    model, tokens = order_one_model(), random_tokens()
    nowhere = [(SCORES, lambda scores, hook: torch.full_like(scores, -torch.inf))]
    with model.hooks(fwd_hooks=nowhere):
        logits, cache = model.run_with_cache(tokens)
    assert cache[Z].abs().max() == 0
    assert logits.isfinite().all()


def test_gradients_of_a_padded_run_are_finite():
    model, tokens = order_one_model(), random_tokens()
    mask = torch.ones(3, 7, dtype=torch.long)
    mask[:, :3] = 0
    for names in ([Z], [Z, PATTERN]):
        model.zero_grad()
        model.run_with_cache(tokens, names_filter=names, incl_bwd=True, return_type="loss", attention_mask=mask)
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_masked_attention_equals_the_reference_of_cs336(shared):
    fixture = np.load(shared / "data" / "numeric-fixtures" / "masked_sdpa_cs336.npz")
    q, k, v, expected = (torch.from_numpy(fixture[name])[:, None] for name in ("q", "k", "v", "expected"))
    keep = torch.from_numpy(fixture["mask_keep"])[:, None]
    attn = Attention(small_config(d_head=64, n_heads=1, dtype=torch.float32), 0)

    class Given(AttentionContext):
        def mask(self, rule):
            return keep

    context = Given(q.shape[2], n_past=4)
    pattern = attn.pattern(q, k, context)
    assert_close(pattern @ v, expected, atol=1e-6, rtol=1e-5)  # float32 reference; measured 3.6e-7
    fused = attn.weighted_values(*(x.transpose(1, 2) for x in (q, k, v)), context)
    assert_close(fused.transpose(1, 2), expected, atol=1e-6, rtol=1e-5)


def test_a_pattern_in_sixteen_bits_is_computed_in_thirty_two():
    # exp(700) overflows float16; softmax in float32 does not see a difference of 700 as NaN.
    attn = Attention(small_config(dtype=torch.float16), 0)
    q = torch.full((1, 4, 2, 6), 100.0, dtype=torch.float16)
    q[:, :, 1] *= -1
    pattern = attn.pattern(q, q / 10, AttentionContext(2))
    assert pattern.dtype == torch.float16
    assert_close(pattern[0, 0], torch.eye(2, dtype=torch.float16))


def test_zeroing_a_head_equals_zeroing_its_rows_of_W_O():
    model, tokens = order_one_model(), random_tokens()

    def without_head_two(z, hook):
        z = z.clone()
        z[:, :, 2] = 0
        return z

    ablated = model.run_with_hooks(tokens, fwd_hooks=[(Z, without_head_two)])
    with torch.no_grad():
        model.blocks[0].attn.W_O[2] = 0
    assert_close(model(tokens), ablated)


def test_editing_one_heads_input_leaves_the_other_heads():
    model, tokens = order_one_model(use_split_qkv_input=True), random_tokens()

    def shifted(stream, hook):
        stream[:, :3, 1, 0] += 1
        return stream

    _, plain = model.run_with_cache(tokens, names_filter=PATTERN)
    with model.hooks(fwd_hooks=[("blocks.0.hook_k_input", shifted)]):
        _, edited = model.run_with_cache(tokens, names_filter=PATTERN)
    changed = (edited[PATTERN] - plain[PATTERN]).abs().amax(dim=(0, 2, 3))
    assert changed[[0, 2, 3]].max() == 0 < changed[1]
