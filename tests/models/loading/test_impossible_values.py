"""What nobody can run is refused without sending the user to another program; what only we lack, with the way there."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading import families
from tests.models.loading.architectures import CASES, ROPE, tiny
from tests.models.loading.test_refused_options import config_of
from tests.models.loading.test_stored_weights import set_fields


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        (
            "llama",
            {"hidden_act": "tanhh"},
            r"hidden_act='tanhh' is not one that transformers has\. Did you mean 'tanh'",
        ),
        ("gpt2", {"activation_function": "?"}, r"activation_function='\?' is not one that transformers has\.$"),
        ("llama", {"max_position_embeddings": 0}, "^max_position_embeddings=0 must be at least 1$"),
        ("llama", {"num_attention_heads": 0}, "^num_attention_heads=0 must be at least 1$"),
        ("gpt2", {"n_layer": -1}, "^n_layer=-1 must be at least 1$"),
        ("llama", {"rms_norm_eps": -1}, "^rms_norm_eps=-1 must not be negative$"),
        ("phi", {"layer_norm_eps": -0.5}, "^layer_norm_eps=-0.5 must not be negative$"),
        ("llama", {"rope_parameters": {**ROPE, "rope_type": "yarnn"}}, "rope_type='yarnn' .* Did you mean 'yarn'"),
        ("gemma2", {"sliding_window": 0}, "sliding_window=0 must be at least 1"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "sliding_window=None must be at least 1"),
        ("gemma2", {"query_pre_attn_scalar": -7}, "query_pre_attn_scalar=-7 must be positive"),
        ("gemma2", {"final_logit_softcapping": 0.0}, r"softcapping=0\.0 must not be zero"),
    ],
)
def test_a_value_that_nobody_can_run_is_refused_without_a_detour(
    case: str, changes: dict[str, Any], message: str
) -> None:
    model_type, given = CASES[case]
    config_of(model_type, given)
    with pytest.raises(CheckpointError, match=message) as refusal:
        config_of(model_type, {**deepcopy(given), **changes})
    assert "TransformerBridge" not in str(refusal.value)


@pytest.mark.parametrize("changes", [{"num_key_value_heads": 4}, {"rope_parameters": {**ROPE, "rope_theta": -2.0}}])
def test_what_the_config_of_ours_refuses_is_no_way_for_a_bridge(changes: dict[str, Any], tmp_path: Path) -> None:
    tiny("llama").save_pretrained(tmp_path)
    HookedTransformer.from_pretrained(tmp_path, device="cpu")
    set_fields(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=r"config\.json: it describes no HookedTransformer: ") as refusal:
        HookedTransformer.from_pretrained(tmp_path, device="cpu")
    assert "TransformerBridge" not in str(refusal.value)


@pytest.mark.parametrize("changes", [{"hidden_act": "tanh"}, {"per_layer_config": {"0": {"hidden_act": "relu"}}}])
def test_what_only_we_lack_is_refused_with_the_way_that_remains(changes: dict[str, Any]) -> None:
    model_type, given = CASES["llama"]
    with pytest.raises(CheckpointError, match=f"{next(iter(changes))}=.* not supported by .*TransformerBridge"):
        config_of(model_type, {**deepcopy(given), **changes})


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("lama", r"^model_type='lama' is not one that transformers has\. Did you mean 'llama'\?"),
        (
            "frobnicate",
            r"^model_type='frobnicate' is not one that transformers has\. HookedTransformer is built from gpt2",
        ),
        (None, "^model_type is missing; HookedTransformer is built from gpt2"),
    ],
)
def test_a_type_that_nobody_has_is_told_the_nearest(model_type: str | None, message: str) -> None:
    families.of("llama")
    with pytest.raises(CheckpointError, match=message) as refusal:
        families.of(model_type)
    assert "TransformerBridge" not in str(refusal.value)
