"""Ours against recordings of TransformerLens 3.9.0's HookedTransformer, made by `python -m tests.parity.record`."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch.testing import assert_close

from models.config import Activation, Normalization
from models.errors import CheckpointError
from models.loading.pickle import load_state_dict_file

from .comparison import TOLERANCE, expected_firing, largest_difference
from .configurations import CONFIGURATIONS
from .observations import observe
from .ours import OURS
from .storage import RECORDED, SAVED_BY_THEM, read

BY_NAME = {configuration.name: configuration for configuration in CONFIGURATIONS}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_observation_equals_the_recorded_one(name: str, record_property: Callable[[str, object], None]) -> None:
    theirs = read(RECORDED / f"{name}.npz")
    ours = observe(OURS, BY_NAME[name])
    assert ours.firing == expected_firing(theirs, BY_NAME[name])
    difference, where = largest_difference(ours, theirs)
    record_property("largest difference", difference)
    print(f"{name}: {len(ours.arrays)} arrays, largest difference {difference:.1e} in {where!r}")
    assert difference < TOLERANCE, where


@pytest.mark.parametrize("name", SAVED_BY_THEM)
def test_a_state_dict_that_transformerlens_saved_loads_unchanged(name: str) -> None:
    saved = load_state_dict_file(RECORDED / f"{name}.pt")
    assert {"blocks.0.attn.mask", "blocks.0.attn.IGNORE"} <= saved.keys()
    assert ("blocks.0.attn.rotary_sin" in saved) == (name == "llama")
    configuration = BY_NAME[name]
    model = OURS.model(OURS.config(**configuration.config, dtype=torch.float64))
    model.load_state_dict(saved)
    logits = model(torch.from_numpy(configuration.tokens)).detach().numpy()
    assert_close(logits, read(RECORDED / f"{name}.npz").arrays["logits"], atol=TOLERANCE, rtol=0)
    with pytest.raises(CheckpointError, match=r"blocks\.0\.attn\.masks"):
        model.load_state_dict({**saved, "blocks.0.attn.masks": saved["blocks.0.attn.mask"]})


def test_configurations_cover_what_both_support() -> None:
    every = {name: {repr(c.config.get(name)) for c in CONFIGURATIONS} for c in CONFIGURATIONS for name in c.config}
    assert every["act_fn"] >= set(map(repr, _literals("act_fn")))
    assert every["normalization_type"] >= set(map(repr, {*_literals("normalization_type"), None} - {"ScaleNorm"}))
    sizes = ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "d_vocab", "n_ctx")
    assert every.keys() >= {*sizes, *_VARIED}


# Fields that change what is computed or hooked; the others name, seed or place a model.
_VARIED = [
    "attn_only", "gated_mlp", "n_key_value_heads", "final_rms", "eps", "use_normalization_before_and_after",
    "parallel_attn_mlp", "positional_embedding_type", "rotary_dim", "rotary_base", "rotary_adjacent_pairs",
    "attention_dir", "use_attn_scale", "attn_scale", "scale_attn_by_inverse_layer_idx", "use_local_attn", "window_size",
    "attn_types", "attn_scores_soft_cap", "output_logits_soft_cap", "use_attn_result", "use_split_qkv_input",
    "use_hook_mlp_in", "use_attn_in", "use_hook_tokens", "ungroup_grouped_query_attention", "d_vocab_out",
]  # fmt: skip


def _literals(field: str) -> tuple[str, ...]:
    return get_args({"act_fn": Activation, "normalization_type": Normalization}[field])
