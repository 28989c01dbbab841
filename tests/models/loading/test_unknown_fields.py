"""A field of a config that nobody here knows is told, once; what `transformers` and released models write is known."""

import json
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from models import HookedTransformer
from models.loading import families
from models.loading.families.fields import Fields
from tests.models.loading.architectures import CASES, LLAMA3, tiny
from tests.models.loading.test_stored_weights import set_fields

RELEASED: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"n_ctx": 19, "output_past": True, "task_specific_params": {"text-generation": {"do_sample": 1}}}),
    "gptj": ("gptj", {"rotary": True, "tokenizer_class": "GPT2Tokenizer", "gradient_checkpointing": False}),
    "gpt_neox": ("gpt_neox", {"rotary_pct": 0.5, "rotary_emb_base": 300, "torch_dtype": "float16"}),
    "opt": ("opt", {"prefix": "</s>", "activation_dropout": 0.1}),
    "llama": (
        "llama",
        {"rope_theta": 300.0, "rope_scaling": LLAMA3, "output_attentions": True, "rope_interleaved": False},
    ),
    "gemma2": ("gemma2", {"rope_theta": 300.0, "cache_implementation": "hybrid", "hidden_act": "gelu_pytorch_tanh"}),
    "gemma3_text": ("gemma3_text", {"rope_theta": 300.0, "rope_local_base_freq": 90.0, "sliding_window_pattern": 6}),
    "phi3": ("phi3", {"rope_theta": 300.0, "partial_rotary_factor": 0.67, "original_max_position_embeddings": 19}),
}
"""What released checkpoints of a type have in their `config.json` besides the fields of `transformers`' class."""


def unknown(model_type: str, given: dict[str, Any]) -> list[str]:
    """The fields that would be told."""
    family = families.of(model_type)
    fields = Fields({**deepcopy(given), "model_type": model_type}, family.needed)
    family.config(fields), family.layout(fields)
    return fields.unknown()


@pytest.mark.parametrize("case", CASES)
def test_every_field_that_transformers_writes_is_known(case: str) -> None:
    model_type, given = CASES[case]
    written = AutoConfig.for_model(model_type, **deepcopy(given)).to_dict()
    assert unknown(model_type, written) == unknown(model_type, given) == []
    assert unknown(model_type, {**written, "frobnicate": True}) == ["frobnicate"]


@pytest.mark.parametrize("case", RELEASED)
def test_what_released_models_write_is_known(case: str) -> None:
    model_type, more = RELEASED[case]
    given = {name: value for name, value in CASES[case][1].items() if name not in ("rope_parameters", "layer_types")}
    assert unknown(model_type, {**given, **more}) == []


def test_a_field_of_another_architecture_is_not_known_here() -> None:
    assert unknown("llama", {**CASES["llama"][1], "rotary_pct": 0.5}) == ["rotary_pct"]


def test_unknown_fields_are_told_once_with_the_file_and_the_model_is_loaded(tmp_path: Path) -> None:
    tiny("llama").save_pretrained(tmp_path)
    set_fields(tmp_path, frobnicate=None, norm_after=False)
    with warnings.catch_warnings(record=True) as silent:
        HookedTransformer.from_pretrained_no_processing(tmp_path, device="cpu")
    assert silent == []
    set_fields(tmp_path, frobnicate=True, norm_after="all", unsloth_version="2025.1")
    with pytest.warns(UserWarning, match="config.json: frobnicate, norm_after, unsloth_version: not known") as told:
        HookedTransformer.from_pretrained_no_processing(tmp_path, device="cpu")
    assert [warning.filename for warning in told] == [__file__]


def test_what_a_model_in_memory_was_given_besides_is_told() -> None:
    theirs = tiny("gpt2")
    assert "frobnicate" not in json.dumps(theirs.config.to_dict())
    theirs.config.frobnicate = 3
    with pytest.warns(UserWarning, match="the config of this GPT2LMHeadModel: frobnicate: not known here"):
        HookedTransformer.from_pretrained_no_processing(theirs, device="cpu")
