"""What one architecture has and another has not: in every config it is computed as `transformers` does, or refused."""

from copy import deepcopy
from dataclasses import fields as fields_of
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading.families.fields import _ELSEWHERE
from tests.conftest import random_tokens
from tests.models.loading.architectures import CASES, ROPE, tiny
from tests.models.loading.in_float64 import logits_and_streams
from tests.models.loading.test_refused_options import DYNAMIC, LONG, YARN, config_of

ONE_EACH = [case for case in CASES if "," not in case and case != "llama 3.1"]
ROTARY = [case for case in ONE_EACH if "rope_parameters" in CASES[case][1] and case != "gemma3_text"]
ON: dict[str, Any] = {
    **dict.fromkeys(_ELSEWHERE, True),
    **dict.fromkeys([name for name in _ELSEWHERE if name.endswith(("multiplier", "scaling", "scale"))], 0.3),
    **dict.fromkeys([name for name in _ELSEWHERE if name.endswith("softcapping")], 2.0),
    **dict.fromkeys([name for name in _ELSEWHERE if name.endswith("experts")], 2),
    "sliding_window": 5,
    "attention_chunk_size": 5,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "no_rope_layers": [1, 0, 1],
    "query_pre_attn_scalar": 7,
    "clip_qkv": 0.3,
    "is_causal": False,
    "mup_width": None,
}


@pytest.mark.parametrize("case", ONE_EACH)
@torch.no_grad()
def test_an_option_is_computed_or_refused_by_name(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model_type, given = CASES[case]
    tokens = random_tokens(batch=2, length=9)
    computed, refusals = [], {}
    for name, value in ON.items():
        changed = {**deepcopy(given), name: deepcopy(value)}
        try:
            config_of(model_type, changed)
        except CheckpointError as error:
            refusals[name] = str(error)
            continue
        monkeypatch.setitem(CASES, "changed", (model_type, changed))
        theirs = tiny("changed")
        ours = HookedTransformer.from_pretrained_no_processing(theirs, device="cpu")
        expected, _ = logits_and_streams(theirs, tokens)
        torch.testing.assert_close(ours(tokens), expected, atol=1e-8, rtol=0, msg=name)
        computed.append(name)
    # Qwen has windows, and none is given here.
    unnamed = {name for name, said in refusals.items() if f"{name}=" not in said and "sliding_window=None" not in said}
    assert unnamed == set()
    assert "mup_width" in computed
    assert "is_causal" not in computed
    assert len(computed) < 8


@pytest.mark.parametrize("case", ONE_EACH)
def test_an_option_that_is_off_is_let_through(case: str) -> None:
    model_type, given = CASES[case]
    own = {field.name for field in fields_of(type(AutoConfig.for_model(model_type)))}
    for name in _ELSEWHERE.keys() - own - {"layer_types"}:
        for off in _ELSEWHERE[name]:
            config_of(model_type, {**deepcopy(given), name: off})


@pytest.mark.parametrize("case", ROTARY)
def test_rotations_that_we_do_not_have_are_refused_by_their_type(case: str) -> None:
    model_type, given = CASES[case]
    share = given["rope_parameters"].get("partial_rotary_factor")
    part = {} if share is None else {"partial_rotary_factor": share}
    config_of(model_type, {**given, "rope_parameters": {**ROPE, **part}})
    for rope in (YARN, DYNAMIC, LONG):
        with pytest.raises(CheckpointError, match=f"rope_type='{rope['rope_type']}'|longrope|`rope_parameters`"):
            config_of(model_type, {**given, "rope_parameters": {**deepcopy(rope), **part}})


@pytest.mark.parametrize("case", ONE_EACH)
@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors"])
def test_quantised_checkpoints_are_refused_by_name(case: str, method: str) -> None:
    model_type, given = CASES[case]
    config_of(model_type, given)
    name = "compression_config" if method == "compressed-tensors" else "quantization_config"
    with pytest.raises(CheckpointError, match=f"{name}=.*{method}.*engine='hooks'"):
        config_of(model_type, {**given, name: {"quant_method": method, "bits": 4}})
