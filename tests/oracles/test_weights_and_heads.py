"""TransformerLens' factored circuits, head detector and attribution patching on our model."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformer_lens.head_detector import detect_head
from transformer_lens.tools import analysis
from transformer_lens.tools.analysis import EdgeAttributionConfig

from models.errors import UnknownPointError
from tests.conftest import order_one_model, random_tokens
from tests.models.word_tokenizer import word_tokenizer


def metric(logits: Tensor) -> Tensor:
    return logits[0, -1, 3] - logits[0, -1, 5]


@pytest.mark.parametrize("n_kv_heads", [None, 2])
def test_factored_circuits_are_products_of_each_heads_weights(n_kv_heads: int | None) -> None:
    model = order_one_model(n_key_value_heads=n_kv_heads)
    for layer in range(2):
        for head in range(4):
            W_Q, W_K, W_V, W_O = (getattr(model, name)[layer, head] for name in ("W_Q", "W_K", "W_V", "W_O"))
            assert_close(model.QK[layer, head].AB, W_Q @ W_K.T)
            assert_close(model.OV[layer, head].AB, W_V @ W_O)
            assert_close(model.OV[layer, head].svd()[1], torch.linalg.svdvals(W_V @ W_O)[:6])
            assert_close(model.blocks[layer].attn.OV[head].AB, W_V @ W_O)


def test_the_pattern_is_the_softmax_of_the_qk_circuit() -> None:
    model = order_one_model(qkv_bias=False)
    with torch.no_grad():
        _, cache = model.run_with_cache(random_tokens())
        x = cache["blocks.1.ln1.hook_normalized"] * model.blocks[1].ln1.w + model.blocks[1].ln1.b
        scores = torch.einsum("bqd,hde,bke->bhqk", x, model.QK[1].AB, x) / model.cfg.d_head**0.5
        hidden = torch.ones(7, 7, dtype=torch.bool).triu(1)
        assert_close(cache["pattern", 1], scores.masked_fill(hidden, -torch.inf).softmax(-1))


def test_the_head_detector_measures_attention_to_the_previous_token() -> None:
    model = order_one_model()
    model.set_tokenizer(word_tokenizer())
    text = "the cat sat on the mat"
    with torch.no_grad():
        scores = detect_head(model, text, "previous_token_head")
        _, cache = model.run_with_cache(text)
    patterns = torch.stack([cache["pattern", layer][0] for layer in range(2)])
    expected = patterns.diagonal(-1, -2, -1).sum(-1) / patterns.sum((-1, -2))
    assert_close(scores.to(expected), expected, atol=2e-3, rtol=0)  # the detector rounds to three digits


def test_direct_path_patching_asks_for_names_that_only_a_bridge_has() -> None:
    model = order_one_model()
    tokens = random_tokens(1, seed=2)
    with torch.no_grad():
        caches = [model.run_with_cache(random_tokens(1, seed=seed))[1] for seed in (1, 2)]
    with pytest.raises(UnknownPointError, match=r"Did you mean 'blocks.1.hook_q_input'"):
        analysis.get_act_patch_direct_path(model, tokens, *caches, metric, 0, 1, "q", verbose=False)
    assert not model.cfg.use_split_qkv_input  # as it was
    model.set_use_split_qkv_input(True)
    assert "blocks.1.hook_q_input" in model.points("blocks.1.hook_q_input")


def test_attribution_patching_is_the_gradient_times_the_change() -> None:
    model = order_one_model()
    clean, corrupted = random_tokens(1, seed=1), random_tokens(1, seed=2)
    scores = analysis.attribution_patch(model, clean, corrupted, metric).node_scores
    _, clean_cache = model.run_with_cache(clean, names_filter="blocks.1.hook_mlp_out")
    corrupted_out: list[Tensor] = []

    def keep(activation: Tensor, hook: Any) -> Tensor:
        corrupted_out.append(activation.detach().requires_grad_())
        return corrupted_out[0]

    metric(model.run_with_hooks(corrupted, fwd_hooks=[("blocks.1.hook_mlp_out", keep)])).backward()
    change = clean_cache["blocks.1.hook_mlp_out"] - corrupted_out[0].detach()
    expected = (change * corrupted_out[0].grad).sum(-1)[0]
    found = {node.position: score for node, score in scores.items() if (node.kind, node.layer) == ("mlp_out", 1)}
    assert_close(torch.tensor([found[pos] for pos in range(7)], dtype=torch.float64), expected.double())


def test_edge_attribution_asks_for_names_that_only_a_bridge_has() -> None:
    model = order_one_model(use_attn_result=True, use_split_qkv_input=True, use_hook_mlp_in=True)
    config = EdgeAttributionConfig(granularity="edge")
    with pytest.raises(ValueError, match=r"blocks.0.attn.hook_q_input"):
        analysis.attribution_patch(model, random_tokens(1, seed=1), random_tokens(1, seed=2), metric, config)
    assert "blocks.0.hook_q_input" in model.hook_dict
