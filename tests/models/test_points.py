"""Every hook point is live: an edit there is seen in the logits, and a point that would not fire refuses hooks."""

import pytest
import torch
from torch.testing import assert_close

from models import HookedTransformer
from models.errors import PointOffError
from tests.conftest import order_one, order_one_model, random_tokens, small_config

VARIANTS = {
    "plain": {"n_layers": 2},
    "attn_result": {"use_attn_result": True},
    "split_qkv": {"use_split_qkv_input": True},
    "attn_in": {"use_attn_in": True},
    "mlp_in": {"use_hook_mlp_in": True},
    "tokens": {"use_hook_tokens": True},
    "attn_only": {"attn_only": True, "act_fn": None},
    "gated": {"gated_mlp": True, "act_fn": "silu"},
    "solu": {"act_fn": "solu"},
    "solu_ln": {"act_fn": "solu_ln"},
    "solu_ln_pre": {"act_fn": "solu_ln", "normalization_type": "LNPre"},
    "LNPre": {"normalization_type": "LNPre"},
    "RMS": {"normalization_type": "RMS"},
    "RMSPre": {"normalization_type": "RMSPre"},
    "ScaleNorm": {"normalization_type": "ScaleNorm"},
    "no norm": {"normalization_type": None},
    "no final norm": {"final_norm": False},
    "final rms": {"final_rms": True},
    "around": {"use_normalization_before_and_after": True},
    "around, RMSPre": {"use_normalization_before_and_after": True, "normalization_type": "RMSPre"},
    "rotary": {"positional_embedding_type": "rotary", "rotary_dim": 4},
    "rotary, grouped": {"positional_embedding_type": "rotary", "n_key_value_heads": 2},
    "shortformer, split": {"positional_embedding_type": "shortformer", "use_split_qkv_input": True},
    "no positions": {"positional_embedding_type": "none"},
    "parallel": {"parallel_attn_mlp": True},
    "parallel, split, mlp_in": {"parallel_attn_mlp": True, "use_split_qkv_input": True, "use_hook_mlp_in": True},
    "post": {"norm_placement": "post"},
    "post, final, split": {"norm_placement": "post", "final_norm": True, "use_split_qkv_input": True},
    "post, attn_only, result": {"norm_placement": "post", "attn_only": True, "use_attn_result": True},
    "post, attn_in, mlp_in": {"norm_placement": "post", "use_attn_in": True, "use_hook_mlp_in": True},
    "deepnorm": {"norm_placement": "post", "residual_scale": 2.0, "normalization_type": "RMS"},
    "grouped": {"n_key_value_heads": 2},
    "grouped, split": {"n_key_value_heads": 2, "use_split_qkv_input": True},
    "ungrouped, attn_in": {"n_key_value_heads": 2, "ungroup_grouped_query_attention": True, "use_attn_in": True},
    "local": {"n_layers": 2, "use_local_attn": True, "window_size": 3, "attn_types": ("local", "global")},
    "bidirectional": {"attention_dir": "bidirectional"},
    "soft caps": {"attn_scores_soft_cap": 2.0, "output_logits_soft_cap": 5.0},
    "tied": {"tie_word_embeddings": True},
    "no qkv bias": {"qkv_bias": False},
    "unscaled": {"use_attn_scale": False, "scale_attn_by_inverse_layer_idx": True},
    "everything that fires": {
        "n_layers": 2,
        "use_attn_result": True,
        "use_split_qkv_input": True,
        "use_hook_mlp_in": True,
        "use_hook_tokens": True,
        "use_normalization_before_and_after": True,
        "gated_mlp": True,
        "positional_embedding_type": "rotary",
        "n_key_value_heads": 2,
    },
}
SIZES = {
    "batch": 3, "pos": 7, "query": 7, "key": 7, "head": 4, "d_head": 6, "d_model": 12, "d_mlp": 20, "d_vocab_out": 17,
    "1": 1,
}  # fmt: skip

variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())


def built(changes):
    return order_one_model(**{"n_layers": 1, **changes})


def edited(activation, hook):
    """Every number changed by a factor of its own."""
    if not activation.is_floating_point():
        return (activation + 1) % 17
    factors = torch.rand(activation.shape, generator=torch.Generator().manual_seed(1), dtype=activation.dtype)
    return activation * (1.5 + factors)


def times(model, name):
    """How often a point fires in one run: the first norm is computed once for each of three split inputs."""
    split = model.cfg.use_split_qkv_input and model.cfg.norm_placement == "pre"
    return 3 if split and ".ln1." in name else 1


@variants
def test_an_edit_at_every_point_changes_the_logits_and_every_point_fires_as_often_as_it_should(changes):
    model, tokens = built(changes), random_tokens()
    with torch.no_grad():
        logits = model(tokens)
        for name in model.points(None):
            fired = []

            def edit(activation, hook, fired=fired):
                fired.append(hook.name)
                return edited(activation, hook)

            changed = model.run_with_hooks(tokens, fwd_hooks=[(name, edit)])
            assert fired == [name] * times(model, name)
            assert (changed - logits).abs().max() > 1e-6, name


@variants
def test_the_cache_holds_exactly_the_points_that_fire_with_the_shapes_they_declare(changes):
    model, tokens = built(changes), random_tokens()
    _, cache = model.run_with_cache(tokens)
    assert set(cache) == {name for name, point in model.hook_dict.items() if point.enabled}
    grouped = model.cfg.n_key_value_heads and not model.cfg.ungroup_grouped_query_attention
    sizes = {**SIZES, "kv_head": 2 if grouped else 4}
    for name, activation in cache.items():
        if times(model, name) == 1:
            assert activation.shape == tuple(sizes[axis] for axis in model.hook_dict[name].axes), name


@variants
def test_a_point_that_is_switched_off_refuses_every_kind_of_hook(changes):
    model, tokens = built(changes), random_tokens()
    off = [name for name, point in model.hook_dict.items() if not point.enabled]
    assert off
    for name in off:
        for attempt in (
            lambda name=name: model.add_hook(name, edited),
            lambda name=name: model.add_hook(name, edited, dir="bwd"),
            lambda name=name: model.add_hook(lambda other: other == name, edited),
            lambda name=name: model.add_perma_hook(name, edited),
            lambda name=name: model.hook_dict[name].add_hook(edited),
            lambda name=name: model.hook_dict[name].add_perma_hook(edited),
            lambda name=name: model.run_with_hooks(tokens, fwd_hooks=[(name, edited)]),
            lambda name=name: model.run_with_hooks(tokens, bwd_hooks=[(name, edited)]),
            lambda name=name: model.run_with_cache(tokens, names_filter=name),
            lambda name=name: model.run_with_cache(tokens, names_filter=[name]),
            lambda name=name: model.hooks(fwd_hooks=[(name, edited)]).__enter__(),
        ):
            with pytest.raises(PointOffError, match=name):
                attempt()
        assert not model.hook_dict[name].hooked


@pytest.mark.parametrize("switch", ["use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in"])
def test_a_switch_changes_what_fires_and_nothing_else(switch):
    model, tokens = order_one_model(), random_tokens()
    logits, before = model(tokens), set(model.points(None))
    getattr(model, f"set_{switch}")(True)
    gained = set(model.points(None)) - before
    assert {model.hook_dict[name].switch for name in gained} == {switch}
    assert getattr(model.cfg, switch)
    assert_close(model(tokens), logits)
    as_configured = order_one(HookedTransformer(small_config(**{switch: True})))
    assert as_configured.points(None) == model.points(None)
    name = sorted(gained)[0]
    model.add_hook(name, edited)
    with pytest.raises(PointOffError, match=f"{name} has hooks"):
        getattr(model, f"set_{switch}")(False)
    model.reset_hooks()
    getattr(model, f"set_{switch}")(False)
    assert set(model.points(None)) == before
    with pytest.raises(PointOffError, match=f"set_{switch}"):
        model.add_hook(name, edited)


@variants
def test_the_cached_gradient_of_every_point_is_autograds(changes):
    model, tokens = built(changes), random_tokens()
    points = [name for name in model.points(None) if times(model, name) == 1 and name != "hook_tokens"]
    _, cache = model.run_with_cache(tokens, names_filter=points, incl_bwd=True, return_type="loss")
    # The second road: add zeros that require a gradient at every point, and ask autograd for theirs.
    zeros = {name: torch.zeros_like(cache[name]).requires_grad_() for name in points}

    def add_zeros(activation, hook):
        return activation + zeros[hook.name]

    loss = model.run_with_hooks(tokens, fwd_hooks=[(name, add_zeros) for name in points], return_type="loss")
    gradients = torch.autograd.grad(loss, list(zeros.values()))
    for name, gradient in zip(points, gradients, strict=True):
        assert_close(cache[f"{name}_grad"], gradient, msg=lambda text, name=name: f"{name}: {text}")
