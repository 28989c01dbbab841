"""Our sweep against TransformerLens' own, on the same model, cell by cell."""

import pytest
import torch
from torch.testing import assert_close
from transformer_lens import patching

from interp.metrics import LogitDifference
from interp.sweep import sweep

from ..conftest import order_one_model, random_tokens

# Each of TransformerLens' sweeps: our point and axes.
SWEEPS = {
    "resid_pre": ("resid_pre", ("layer", "pos")),
    "resid_mid": ("resid_mid", ("layer", "pos")),
    "attn_out": ("attn_out", ("layer", "pos")),
    "mlp_out": ("mlp_out", ("layer", "pos")),
    "attn_head_out_all_pos": ("z", ("layer", "head")),
    "attn_head_out_by_pos": ("z", ("layer", "pos", "head")),
    "attn_head_q_by_pos": ("q", ("layer", "pos", "head")),
    "attn_head_k_all_pos": ("k", ("layer", "kv_head")),
    "attn_head_v_by_pos": ("v", ("layer", "pos", "kv_head")),
    "attn_head_pattern_all_pos": ("pattern", ("layer", "head")),
    "attn_head_pattern_by_pos": ("pattern", ("layer", "head", "query")),
    "attn_head_pattern_dest_src_pos": ("pattern", ("layer", "head", "query", "key")),
}


@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("name", SWEEPS)
def test_each_cell_is_that_of_transformer_lens(name, direction):
    point, over = SWEEPS[name]
    model = order_one_model(n_heads=3)
    clean, corrupted = random_tokens(2, 4, seed=1), random_tokens(2, 4, seed=2)
    corrupted[:, 0] = clean[:, 0]
    metric = LogitDifference(torch.tensor([3, 9]), torch.tensor([5, 1]))
    effects = sweep(model, clean, corrupted, point, over, metric, direction=direction)
    edited, other = (corrupted, clean) if direction == "denoising" else (clean, corrupted)
    with torch.no_grad():
        _, cache = model.run_with_cache(other)
        # Their results are float32; rounding there is larger than any difference between the two.
        rows = []

        def of_all_prompts(logits):
            rows.append(metric(logits))
            return rows[-1].mean()

        theirs = getattr(patching, f"get_act_patch_{name}")(model, edited, cache, of_all_prompts)
    shape = (*theirs.shape, 2)
    assert_close(effects.values.movedim(0, -1), torch.stack(rows).reshape(shape), rtol=1e-12, atol=1e-12)
    assert effects.values.std() > 0.01
