"""Our sweep, by each of its engines, against TransformerLens' own on the same model: each cell on each prompt."""

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
    "attn_head_q_all_pos": ("q", ("layer", "head")),
    "attn_head_q_by_pos": ("q", ("layer", "pos", "head")),
    "attn_head_k_all_pos": ("k", ("layer", "kv_head")),
    "attn_head_k_by_pos": ("k", ("layer", "pos", "kv_head")),
    "attn_head_v_all_pos": ("v", ("layer", "kv_head")),
    "attn_head_v_by_pos": ("v", ("layer", "pos", "kv_head")),
    "attn_head_pattern_all_pos": ("pattern", ("layer", "head")),
    "attn_head_pattern_by_pos": ("pattern", ("layer", "head", "query")),
    "attn_head_pattern_dest_src_pos": ("pattern", ("layer", "head", "query", "key")),
}
# Models on which a fast engine could go wrong in another way than on the plain one.
OTHERS = {
    "grouped, rotary, RMS, gated": {
        "n_key_value_heads": 3,
        "n_heads": 6,
        "positional_embedding_type": "rotary",
        "rotary_dim": 4,
        "normalization_type": "RMS",
        "gated_mlp": True,
    },
    "attention only": {"attn_only": True},
    "parallel": {"parallel_attn_mlp": True},
    "looking ahead": {"attention_dir": "bidirectional"},
    "post-norm": {"norm_placement": "post"},
    "windowed": {"use_local_attn": True, "window_size": 2, "attn_types": ("local", "global")},
}
TOLERANCE = {"hooks": 1e-12, "wavefront": 1e-10}
N_PROMPTS, LENGTH = 5, 4

# Types are executed by tests/interp/test_sweep.py; here they take longer than the sweeps.
pytestmark = pytest.mark.usefixtures("as_users_run_it")
engines = pytest.mark.parametrize("engine", TOLERANCE)


def swept(model, name, direction, engine):
    """Ours and theirs, [cell ... prompt]. The prompts of a pair part at different tokens."""
    clean, corrupted = random_tokens(N_PROMPTS, LENGTH, seed=1), random_tokens(N_PROMPTS, LENGTH, seed=2)
    for prompt in range(N_PROMPTS):
        corrupted[prompt, : prompt % 3] = clean[prompt, : prompt % 3]
    metric = LogitDifference(torch.tensor([3, 9, 2, 7, 3]), torch.tensor([5, 1, 8, 3, 2]))
    point, over = SWEEPS[name]
    effects = sweep(model, clean, corrupted, point, over, metric, direction=direction, engine=engine)
    assert effects.engine == engine
    edited, other = (corrupted, clean) if direction == "denoising" else (clean, corrupted)
    rows = []

    def of_all_prompts(logits):
        # Their results are float32; rounding there is larger than any difference between the two.
        rows.append(metric(logits))
        return rows[-1].mean()

    with torch.no_grad():
        _, cache = model.run_with_cache(other)
        theirs = getattr(patching, f"get_act_patch_{name}")(model, edited, cache, of_all_prompts)
    return effects.values.movedim(0, -1), torch.stack(rows).reshape(*theirs.shape, N_PROMPTS)


@engines
@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("name", SWEEPS)
def test_each_cell_is_that_of_transformer_lens(name, direction, engine):
    ours, theirs = swept(order_one_model(n_heads=3), name, direction, engine)
    assert_close(ours, theirs, rtol=TOLERANCE[engine], atol=TOLERANCE[engine])
    assert ours.std() > 0.01


@engines
@pytest.mark.parametrize("name", ["resid_pre", "attn_head_out_by_pos", "attn_head_k_all_pos", "attn_head_v_by_pos"])
@pytest.mark.parametrize("kind", OTHERS)
def test_so_it_is_on_models_built_otherwise(kind, name, engine):
    ours, theirs = swept(order_one_model(**{"n_heads": 3, **OTHERS[kind]}), name, "denoising", engine)
    assert_close(ours, theirs, rtol=TOLERANCE[engine], atol=TOLERANCE[engine])
    assert ours.std() > 0.01
