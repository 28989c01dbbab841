"""TransformerLens' patching sweeps on our model, each equal to a loop of `run_with_hooks` written out by hand."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformer_lens import ActivationCache, patching

from models import HookedTransformer
from tests.conftest import order_one_model, random_tokens

LENGTH = 4
SIZES = {"layer": 2, "pos": LENGTH, "head": 3, "dest": LENGTH, "src": LENGTH}
# Each sweep: the point it patches, the axes of its result, and the activation's axes that are fixed, batch first.
SWEEPS = {
    "resid_pre": ("hook_resid_pre", "layer pos", "batch pos"),
    "resid_mid": ("hook_resid_mid", "layer pos", "batch pos"),
    "attn_out": ("hook_attn_out", "layer pos", "batch pos"),
    "mlp_out": ("hook_mlp_out", "layer pos", "batch pos"),
    "attn_head_out_by_pos": ("attn.hook_z", "layer pos head", "batch pos head"),
    "attn_head_q_by_pos": ("attn.hook_q", "layer pos head", "batch pos head"),
    "attn_head_k_by_pos": ("attn.hook_k", "layer pos head", "batch pos head"),
    "attn_head_v_by_pos": ("attn.hook_v", "layer pos head", "batch pos head"),
    "attn_head_out_all_pos": ("attn.hook_z", "layer head", "batch any head"),
    "attn_head_q_all_pos": ("attn.hook_q", "layer head", "batch any head"),
    "attn_head_k_all_pos": ("attn.hook_k", "layer head", "batch any head"),
    "attn_head_v_all_pos": ("attn.hook_v", "layer head", "batch any head"),
    "attn_head_pattern_all_pos": ("attn.hook_pattern", "layer head", "batch head"),
    "attn_head_pattern_by_pos": ("attn.hook_pattern", "layer head pos", "batch head pos"),
    "attn_head_pattern_dest_src_pos": ("attn.hook_pattern", "layer head dest src", "batch head dest src"),
}  # fmt: skip
TOGETHER = {
    "attn_head_all_pos_every": [f"attn_head_{what}_all_pos" for what in ("out", "q", "k", "v", "pattern")],
    "block_every": ["resid_pre", "attn_out", "mlp_out"],
}


def metric(logits: Tensor) -> Tensor:
    return logits[0, -1, 3] - logits[0, -1, 5]


@pytest.fixture(scope="module")
def model() -> HookedTransformer:
    return order_one_model(n_heads=3)


@pytest.fixture(scope="module")
def corrupted() -> Tensor:
    return random_tokens(1, LENGTH, seed=2)


@pytest.fixture(scope="module")
def clean_cache(model: HookedTransformer) -> ActivationCache:
    with torch.no_grad():
        return model.run_with_cache(random_tokens(1, LENGTH, seed=1))[1]


def swept(name: str, model: HookedTransformer, corrupted: Tensor, clean_cache: ActivationCache) -> Tensor:
    return getattr(patching, f"get_act_patch_{name}")(model, corrupted, clean_cache, metric)


@pytest.mark.parametrize("name", SWEEPS)
def test_each_sweep_equals_a_loop_by_hand(
    name: str, model: HookedTransformer, corrupted: Tensor, clean_cache: ActivationCache
) -> None:
    result = swept(name, model, corrupted, clean_cache)
    expected = by_hand(name, model, corrupted, clean_cache)
    assert_close(result.to(expected), expected)
    assert result.std() > 0.01


@pytest.mark.parametrize("name", TOGETHER)
def test_sweeps_together_equal_the_sweeps_alone(
    name: str, model: HookedTransformer, corrupted: Tensor, clean_cache: ActivationCache
) -> None:
    expected = torch.stack([swept(single, model, corrupted, clean_cache) for single in TOGETHER[name]])
    assert_close(swept(name, model, corrupted, clean_cache), expected)


def test_patching_the_whole_stream_gives_the_clean_run(model: HookedTransformer, clean_cache: ActivationCache) -> None:
    clean, corrupted = random_tokens(1, LENGTH, seed=1), random_tokens(1, LENGTH, seed=1)
    corrupted[0, 2] = (corrupted[0, 2] + 1) % 17
    result = swept("resid_pre", model, corrupted, clean_cache)
    assert_close(result[0, 2].double(), metric(model(clean)).detach())


@torch.no_grad()
def by_hand(name: str, model: HookedTransformer, corrupted: Tensor, clean_cache: ActivationCache) -> Tensor:
    point, axes, fixed = SWEEPS[name]
    shape = [SIZES[axis] for axis in axes.split()]
    values = [
        patched(model, corrupted, clean_cache, point, dict(zip(axes.split(), index, strict=True)), fixed)
        for index in product(*map(range, shape))
    ]
    return torch.stack(values).reshape(shape)


def patched(
    model: HookedTransformer, corrupted: Tensor, cache: ActivationCache, point: str, at: dict[str, int], fixed: str
) -> Tensor:
    site = f"blocks.{at['layer']}.{point}"
    index = tuple(at.get(axis, slice(None)) for axis in fixed.split())

    def patch(activation: Tensor, hook: Any) -> Tensor:
        activation[index] = cache[site][index]
        return activation

    return metric(model.run_with_hooks(corrupted, fwd_hooks=[(site, patch)]))
