"""Parts of the model called by themselves, as notebooks call them: what the model's own run computes."""

import pytest
import torch
from torch.testing import assert_close
from transformer_lens import TransformerLensKeyValueCache

from models.errors import InputError
from tests.conftest import order_one_model, random_tokens

VARIANTS = {
    "pre": {},
    "post": {"norm_placement": "post"},
    "parallel": {"parallel_attn_mlp": True},
    "attention only": {"attn_only": True},
    "norms around": {"use_normalization_before_and_after": True},
    "rotary, grouped, gated": {"positional_embedding_type": "rotary", "n_key_value_heads": 2, "gated_mlp": True},
    "local": {"use_local_attn": True, "window_size": 2, "attn_types": ("global", "local")},
    "split inputs": {"use_split_qkv_input": True, "n_key_value_heads": 2},
    "inputs by head": {"use_attn_in": True},
    "bidirectional": {"attention_dir": "bidirectional"},
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


@variants
def test_the_model_by_hand_from_its_parts_is_the_model(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    logits, cache = model.run_with_cache(tokens)
    stream = model.embed(tokens)
    if "positional_embedding_type" not in changes:
        stream = stream + model.pos_embed(tokens)
    for layer, block in enumerate(model.blocks):
        assert_close(stream, cache[f"blocks.{layer}.hook_resid_pre"])
        stream = block(stream)
    assert_close(stream, cache["blocks.1.hook_resid_post"])
    assert_close(model.unembed(model.ln_final(stream)), logits)


def test_attention_by_itself_reads_what_it_is_given():
    for changes in ({}, {"positional_embedding_type": "rotary", "n_key_value_heads": 2}):
        model, tokens = order_one_model(**changes), random_tokens()
        _, cache = model.run_with_cache(tokens)
        block = model.blocks[1]
        x = block.ln1(cache["blocks.1.hook_resid_pre"])
        assert_close(block.attn(x, x, x), cache["blocks.1.hook_attn_out"])
        named = block.attn(query_input=x, key_input=x, value_input=x)
        assert torch.equal(named, block.attn(x, x, x))
        assert_close(block.mlp(block.ln2(cache["blocks.1.hook_resid_mid"])), cache["blocks.1.hook_mlp_out"])
        # An input for each head: all alike, they are the one input.
        for_each = x[:, :, None].expand(-1, -1, 4, -1)
        for_each_key = for_each[:, :, : model.cfg.n_kv_heads]
        assert_close(block.attn(for_each, for_each_key, for_each_key), block.attn(x, x, x))


def test_hooks_fire_where_a_part_is_called_by_itself():
    model, tokens, fired = order_one_model(), random_tokens(), []
    stream = model(tokens, stop_at_layer=1)
    zeroed = [("blocks.1.attn.hook_z", lambda z, hook: torch.zeros_like(z))]
    with model.hooks(fwd_hooks=[("blocks.1.attn.hook_pattern", lambda x, hook: fired.append(tuple(x.shape)))]):
        whole = model.blocks[1](stream)
    assert fired == [(3, 4, 7, 7)]
    with model.hooks(fwd_hooks=zeroed):
        edited = model.blocks[1](stream)
    assert_close(edited, model.run_with_hooks(stream, start_at_layer=1, stop_at_layer=2, fwd_hooks=zeroed))
    assert not torch.allclose(edited, whole)


@pytest.mark.parametrize("changes", [{}, {"positional_embedding_type": "rotary", "n_key_value_heads": 2}])
def test_a_block_with_held_keys_counts_on_from_their_end(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    stream = model(tokens, stop_at_layer=1)
    past = TransformerLensKeyValueCache.init_cache(model.cfg, "cpu", 3)[1]
    parts = [model.blocks[1](part, past=past) for part in stream.split([4, 3], dim=1)]
    assert_close(torch.cat(parts, dim=1), model.blocks[1](stream))


def test_padding_is_known_only_from_a_context():
    model, tokens = order_one_model(), random_tokens()
    mask = torch.ones(3, 7, dtype=torch.long)
    mask[:, :2] = 0
    stream = model(tokens, stop_at_layer=1, attention_mask=mask)
    after = model(stream, start_at_layer=1, stop_at_layer=2, attention_mask=mask)
    assert not torch.allclose(model.blocks[1](stream)[:, 2:], after[:, 2:])
    assert_close(model.blocks[1](stream, model._context(tokens.shape, mask, None)), after)


def test_a_block_whose_queries_read_positions_must_be_told_of_them():
    model, tokens = order_one_model(positional_embedding_type="shortformer"), random_tokens()
    stream = model.embed(tokens)
    with pytest.raises(InputError, match=r"context=model\.context_of\(tokens\)"):
        model.blocks[0](stream)
    for block in model.blocks:
        stream = block(stream, model.context_of(tokens))
    assert_close(model.unembed(model.ln_final(stream)), model(tokens))
    # Attention alone is given what queries, keys and values read.
    block, stream = model.blocks[0], model.embed(tokens)
    normed = block.ln1(stream)
    positioned = normed + model.pos_embed(tokens)
    assert_close(block.attn(positioned, positioned, normed), block.attn_out(stream, model.context_of(tokens)))
