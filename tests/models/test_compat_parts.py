"""The steps of attention and of a block by their names in TransformerLens 3.9, each called by itself."""

import copy
import pickle

import pytest
import torch
from torch.testing import assert_close

import models
from models.compat import HookedTransformer, components
from models.errors import InputError
from tests.conftest import order_one, random_tokens, small_config

ROTARY = {"positional_embedding_type": "rotary", "rotary_dim": 4}
LOCAL = {"use_local_attn": True, "attn_types": ["local", "global"], "window_size": 2}
KINDS = {
    "learned positions": {},
    "rotary": ROTARY,
    "neighbours rotated": {**ROTARY, "rotary_adjacent_pairs": True},
    "normed heads": {**ROTARY, "use_qk_norm": True, "normalization_type": "RMS"},
    "shared keys and values": {**ROTARY, "n_key_value_heads": 2},
    "a window": LOCAL,
    "capped": {"attn_scores_soft_cap": 2.0, "scale_attn_by_inverse_layer_idx": True},
}


def model_of(**changes):
    return order_one(HookedTransformer(small_config(**changes)))


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_steps_of_attention_one_by_one_are_the_layer(kind, layer):
    model, tokens = model_of(**KINDS[kind]), random_tokens()
    attn, cache = model.blocks[layer].attn, model.run_with_cache(tokens)[1]
    mask = torch.ones_like(tokens)
    x = model.blocks[layer].ln1(cache["resid_pre", layer])
    q, k, v = attn.calculate_qkv_matrices(x, x, x)
    if "rotary" in attn.cfg.positional_embedding_type:
        assert_close(attn.apply_rotary(q, 0, mask), attn.apply_rotary(q))
        q, k = attn.apply_rotary(q), attn.apply_rotary(k)
    scores = attn.apply_causal_mask(attn.calculate_attention_scores(q, k))
    assert_close(scores, attn.apply_causal_mask(attn.calculate_attention_scores(q, k), 0, mask))
    assert_close(scores, cache["attn_scores", layer])
    z = attn.calculate_z_scores(v, scores.softmax(-1))
    assert_close(z, cache["z", layer])
    assert_close(scores == attn.IGNORE, ~attn.mask[: tokens.shape[1], : tokens.shape[1]].expand_as(scores))


@pytest.mark.parametrize("kind", ["rotary", "neighbours rotated"])
def test_rotary_tables_turn_as_the_model_does(kind):
    attn = model_of(**KINDS[kind]).blocks[1].attn
    q = torch.randn(2, 5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    turned, rest = q[..., :4], q[..., 4:]
    first, second = (turned[..., ::2], turned[..., 1::2]) if "neigh" in kind else turned.chunk(2, -1)
    flipped = torch.stack([-second, first], -1).flatten(-2) if "neigh" in kind else torch.cat([-second, first], -1)
    cos, sin = (table[3:8, None] for table in (attn.rotary_cos, attn.rotary_sin))
    assert attn.rotary_cos.shape == (9, 4)
    assert_close(attn.apply_rotary(q, 3), torch.cat([turned * cos + flipped * sin, rest], -1))
    padded = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    assert_close(attn.apply_rotary(q, 0, padded)[0, 2:], attn.apply_rotary(q[:1, 2:])[0])
    with pytest.raises(InputError, match="10 positions are more than the model's context of 9"):
        attn.apply_rotary(q, 5)
    for model, name in ((model_of(), "rotary_sin"), (model_of(), "apply_rotary")):
        with pytest.raises(AttributeError, match=r"a model with standard positions has no \w+: nothing is turned"):
            getattr(model.blocks[0].attn, name)(q)


def test_padding_and_earlier_positions_are_masked():
    attn, scores = model_of().blocks[0].attn, torch.zeros(2, 4, 2, 5)
    masked = attn.apply_causal_mask(scores, 3, torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]))
    assert (masked[0, 0] == 0).tolist() == [[False, True, True, True, False], [False, True, True, True, True]]
    assert (masked[1, 3] == 0).tolist() == [[True, True, True, True, False], [True] * 5]
    with pytest.raises(InputError, match="2 queries behind 2 positions look at 4 keys, not at 5"):
        attn.apply_causal_mask(scores, 2)


def test_each_part_knows_the_config_of_its_model_also_after_a_change():
    model = model_of(**LOCAL)
    parts = [model.blocks[1], *model.blocks[1].children(), model.embed, model.pos_embed, model.ln_final, model.unembed]
    parts = [part for part in parts if not isinstance(part, models.hook_point.HookPoint)]
    assert len(parts) == 9
    assert all(part.cfg is model.cfg for part in parts)
    model.set_use_attn_result(True)
    assert all(part.cfg is model.cfg and part.cfg.use_attn_result for part in parts)
    assert [(block.attn.layer_id, block.attn.attn_type) for block in model.blocks] == [(0, "local"), (1, "global")]
    model.process_weights_()
    assert model.blocks[1].ln1.cfg.normalization_type == "LNPre"
    assert model.blocks[1].attn.cfg is model.cfg


@pytest.mark.parametrize("changes", [{}, {"parallel_attn_mlp": True}, {"use_normalization_before_and_after": True}])
def test_the_mlp_of_a_block_is_applied(changes):
    model, tokens = model_of(**changes), random_tokens()
    block, cache = model.blocks[1], model.run_with_cache(tokens)[1]
    read = cache["resid_pre" if "parallel_attn_mlp" in changes else "resid_mid", 1]
    assert_close(block.apply_mlp(block.ln2(read)), cache["mlp_out", 1])
    with pytest.raises(AttributeError, match="a block has no MLP to apply"):
        model_of(attn_only=True).blocks[0].apply_mlp(read)


def test_what_is_not_there_says_what_is():
    attn = model_of(**ROTARY).blocks[0].attn
    with pytest.raises(AttributeError, match=r"rotate_every_two is not covered by models\.compat; apply_rotary turns"):
        attn.rotate_every_two  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'aply_rotary'"):
        attn.aply_rotary  # noqa: B018
    assert model_of(n_key_value_heads=2).blocks[0].attn.repeat_kv_heads == 2


@pytest.mark.parametrize("changes", [{}, {"n_key_value_heads": 2}, {"norm_placement": "post"}, {"attn_only": True}])
def test_a_model_of_such_parts_computes_saves_and_copies_as_before(changes):
    model, tokens = model_of(**changes), random_tokens()
    strict = models.HookedTransformer(model.cfg)
    strict.load_state_dict(model.state_dict())
    assert model.state_dict().keys() == strict.state_dict().keys()
    for other in (strict, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(tokens), model(tokens))
    assert isinstance(model.blocks[0].attn, components.AbstractAttention)
    assert isinstance(model.blocks[0], components.TransformerBlock)
    assert repr(model).replace("\n", "") == repr(strict).replace("\n", "")
