import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from models.positions import Rotary
from tests.conftest import order_one_model, random_tokens, small_config


def rotary(layer=0, **changes):
    changes = {"positional_embedding_type": "rotary", "n_ctx": 32, **changes}
    return Rotary(small_config(**changes), layer)


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("adjacent", [False, True])
@pytest.mark.parametrize("rotary_dim", [2, 4, 6])
def test_each_pair_is_turned_by_its_angle(adjacent, rotary_dim):
    x, position = vectors(1, 1, 1, 6), 5
    turned = rotary(rotary_adjacent_pairs=adjacent, rotary_dim=rotary_dim, rotary_base=50.0)(
        x, torch.tensor([[position]])
    )
    expected = x.flatten().tolist()
    for pair in range(rotary_dim // 2):
        i, j = (2 * pair, 2 * pair + 1) if adjacent else (pair, pair + rotary_dim // 2)
        angle = position * 50.0 ** (-2 * pair / rotary_dim)
        a, b = x.flatten()[i].item(), x.flatten()[j].item()
        expected[i] = a * math.cos(angle) - b * math.sin(angle)
        expected[j] = b * math.cos(angle) + a * math.sin(angle)
    assert_close(turned.flatten(), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("adjacent", [False, True])
@pytest.mark.parametrize("rotary_dim", [4, 6])
def test_a_score_depends_on_the_distance_alone(adjacent, rotary_dim):
    turn = rotary(rotary_adjacent_pairs=adjacent, rotary_dim=rotary_dim)
    query, key = vectors(1, 1, 4, 6, seed=1), vectors(1, 1, 4, 6, seed=2)

    def score(query_position, key_position):
        at = [torch.tensor([[position]]) for position in (query_position, key_position)]
        return (turn(query, at[0]) * turn(key, at[1])).sum(-1)

    assert_close(score(7, 3), score(27, 23))
    assert_close(score(4, 0), score(7, 3))
    assert (score(7, 3) - score(7, 4)).abs().max() > 0.01


def test_position_zero_and_the_unrotated_part_stay_as_they_are():
    turn, x = rotary(rotary_dim=4), vectors(1, 3, 4, 6)
    turned = turn(x, torch.arange(3)[None])
    assert_close(turned[:, 0], x[:, 0])
    assert torch.equal(turned[..., 4:], x[..., 4:])
    assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_adjacent_pairs_equal_the_reference_of_cs336(shared):
    fixture = np.load(shared / "data" / "numeric-fixtures" / "rope_interleaved_cs336.npz")
    x = torch.from_numpy(fixture["input"])
    turn = rotary(
        d_head=x.shape[-1],
        rotary_base=float(fixture["theta"]),
        rotary_adjacent_pairs=True,
        dtype=x.dtype,
    )
    turned = turn(x[:, :, None], torch.arange(x.shape[1])[None])
    assert_close(turned[:, :, 0], torch.from_numpy(fixture["expected"]))


def test_shifting_all_positions_of_a_rotary_model_changes_nothing():
    # Left padding shifts where a text stands, not what its tokens see of one another.
    model, tokens = order_one_model(positional_embedding_type="rotary", n_ctx=12), random_tokens(length=5)
    padded = torch.cat([torch.zeros_like(tokens[:, :4]), tokens], dim=1)
    ids = [torch.arange(start, start + 5)[None] for start in (0, 4)]
    turn, q = model.blocks[0].attn.rotary, vectors(1, 5, 4, 6)
    scores = [torch.einsum("bqhe,bkhe->bhqk", turn(q, at), turn(q, at)) for at in ids]
    assert_close(scores[0], scores[1])
    mask = torch.ones_like(padded)
    mask[:, :4] = 0
    assert_close(model(padded, attention_mask=mask)[:, 4:], model(tokens))


def test_angles_that_grow_by_parts_are_those_of_transformers():
    options = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    theirs = LlamaConfig(
        hidden_size=96, num_attention_heads=2, rope_parameters={"rope_type": "llama3", "rope_theta": 500.0, **options}
    )
    expected, scale = ROPE_INIT_FUNCTIONS["llama3"](theirs, "cpu")
    ours = rotary(
        d_head=48, d_model=96, n_heads=2, rotary_base=500.0, use_NTK_by_parts_rope=True, NTK_original_ctx_len=64
    ).frequencies(torch.float64)
    assert scale == 1.0
    assert_close(ours.float(), expected)
    # Some as they were, some slowed by the whole factor, some between.
    plain = rotary(d_head=48, d_model=96, n_heads=2, rotary_base=500.0).frequencies(torch.float64)
    slowed = plain / ours
    assert_close(slowed.min(), torch.tensor(1.0, dtype=torch.float64))
    assert_close(slowed.max(), torch.tensor(8.0, dtype=torch.float64))
    assert ((slowed > 1.1) & (slowed < 7.9)).any()


def test_scaled_angles_are_those_of_positions_closer_together_and_local_blocks_have_their_own():
    x, at = vectors(1, 1, 4, 6), torch.tensor([[10]])
    local = {"use_local_attn": True, "window_size": 3, "attn_types": ("global", "local"), "rotary_base_local": 50.0}
    scaled = {"rotary_base": 700.0, "rotary_scaling_factor": 2.5, **local}
    assert_close(rotary(**scaled)(x, at), rotary(rotary_base=700.0)(x, torch.tensor([[4]])))
    assert_close(rotary(layer=1, **scaled)(x, at), rotary(rotary_base=50.0)(x, at))
    shared = {**scaled, "rotary_base_local": None}
    assert_close(rotary(layer=1, **shared)(x, at), rotary(rotary_base=700.0)(x, at))


@pytest.mark.parametrize("grouped", [{}, {"n_key_value_heads": 2}])
def test_queries_and_keys_are_normed_by_themselves_and_then_turned(grouped):
    model = order_one_model(positional_embedding_type="rotary", use_qk_norm=True, eps=0.3, **grouped)
    _, cache = model.run_with_cache(random_tokens())
    for layer, block in enumerate(model.blocks):
        for which, heads in (("q", 4), ("k", grouped.get("n_key_value_heads", 4))):
            read = cache[f"blocks.{layer}.attn.hook_{which}"]
            assert read.shape == (3, 7, heads, 6)
            norm = getattr(block.attn, f"{which}_norm")
            by_hand = norm.w * read / (read.square().sum(-1, keepdim=True) / 6 + 0.3).sqrt()
            turned = block.attn.rotary(by_hand, torch.arange(7)[None])
            assert_close(cache[f"blocks.{layer}.attn.hook_rot_{which}"], turned)
            assert_close(cache[f"blocks.{layer}.attn.{which}_norm.hook_normalized"] * norm.w, by_hand)
    scores = torch.einsum("bqhe,bkhe->bhqk", *(cache[f"blocks.0.attn.hook_rot_{which}"] for which in "qq"))
    assert not torch.isclose(scores, cache["blocks.0.attn.hook_attn_scores"]).all()


def test_learned_positions_are_added_to_the_tokens():
    model, tokens = order_one_model(), random_tokens()
    _, cache = model.run_with_cache(tokens)
    assert torch.equal(cache["hook_pos_embed"], model.W_pos[:7].expand(3, -1, -1))
    assert_close(cache["blocks.0.hook_resid_pre"], model.W_E[tokens] + model.W_pos[:7])


def test_the_tables_of_a_converted_model_are_as_fine_as_its_dtype():
    coarse, fine = rotary(dtype=torch.float32), rotary(dtype=torch.float64)
    assert not torch.equal(coarse.cos.double(), fine.cos)
    assert torch.equal(coarse.double().cos, fine.cos)
    assert torch.equal(fine.float().sin, rotary(dtype=torch.float32).sin)


def test_the_position_embedding_takes_tokens_as_transformer_lens_has_it():
    model, tokens = order_one_model(), random_tokens()
    assert torch.equal(model.pos_embed(tokens), model.W_pos[:7].expand(3, -1, -1))
    assert torch.equal(model.pos_embed(tokens[:, :2], 4), model.W_pos[4:6].expand(3, -1, -1))
    _, cache = model.run_with_cache(tokens)
    assert torch.equal(cache["hook_pos_embed"], model.pos_embed(tokens))
