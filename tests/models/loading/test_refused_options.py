"""What an architecture may ask for and we do not have is refused by name; every field of a config is accounted for."""

from copy import deepcopy
from dataclasses import fields as fields_of
from typing import Any

import pytest
from transformers import AutoConfig

from models.errors import CheckpointError
from models.loading import families
from models.loading.families.fields import HARMLESS, Fields, general_fields
from tests.models.loading.architectures import CASES, GEMMA3, LINEAR, ROPE

DYNAMIC = {"rope_type": "dynamic", "rope_theta": 300.0, "factor": 2.0}
YARN = {"rope_type": "yarn", "rope_theta": 300.0, "factor": 2.0, "original_max_position_embeddings": 11}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 300.0,
    "factor": 2.0,
    "short_factor": [1.0] * 3,
    "long_factor": [2.0] * 3,
}


def config_of(model_type: str, given: dict[str, Any]) -> dict[str, Any]:
    """Our config's fields, from Hugging Face's; the layout is made as well."""
    family = families.of(model_type)
    fields = Fields({"model_type": model_type, **deepcopy(given)}, family.needed)
    described = family.config(fields)
    family.layout(fields)
    fields.require_all_read()
    return described


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention=True"),
        ("gpt2", {"activation_function": "tanh"}, "activation_function='tanh'"),
        ("gpt_neo", {"attention_types": [[["global", "dilated", "local"], 1]]}, r"layer_types=\['dilated'\]"),
        ("gptj", {"rotary_dim": None}, "rotary_dim"),
        ("gpt_neox", {"rope_parameters": {**DYNAMIC, "partial_rotary_factor": 0.5}}, "rope_type='dynamic'"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before=False"),
        ("opt", {"word_embed_proj_dim": 12}, "word_embed_proj_dim=12"),
        ("llama", {"mlp_bias": True}, "mlp_bias=True"),
        ("llama", {"hidden_act": "relu6"}, "hidden_act='relu6'"),
        ("llama", {"rope_parameters": YARN}, "rope_type='yarn'"),
        ("llama", {"rope_parameters": DYNAMIC}, "rope_type='dynamic'"),
        ("llama", {"rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}}, "partial_rotary_factor=0.5"),
        ("mistral", {"layer_types": ["full_attention"] * 3}, "layer_types="),
        ("mistral", {"rope_parameters": LINEAR}, "linear with a sliding window"),
        ("qwen2", {"layer_types": ["chunked_attention"] * 3}, "chunked_attention"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "sliding_window=None"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        ("gemma2", {"final_logit_softcapping": 0.0}, "softcapping=0.0"),
        ("gemma3_text", {"attn_logit_softcapping": 3.0}, "attn_logit_softcapping=3.0"),
        ("gemma3_text", {"rope_parameters": {**GEMMA3["rope_parameters"], "sliding_attention": LINEAR}}, "sliding_att"),
        ("phi", {"qk_layernorm": True}, "qk_layernorm=True"),
        ("phi3, window", {"rope_parameters": LONG}, "rope_type='longrope'|no config of a 'phi3' model"),
        ("olmo", {"clip_qkv": 8.0}, "clip_qkv=8.0"),
    ],
)
def test_what_we_do_not_have_is_refused_by_name(case: str, changes: dict[str, Any], message: str) -> None:
    model_type, given = CASES[case]
    config_of(model_type, given)
    with pytest.raises(CheckpointError, match=message):
        config_of(model_type, {**given, **changes})


@pytest.mark.parametrize("model_type", ["olmo2", "mixtral", "qwen2_moe", "t5"])
def test_other_architectures_are_refused_with_the_way_that_remains(model_type: str) -> None:
    with pytest.raises(CheckpointError, match=r"not converted: .*llama, mistral.*TransformerBridge.*engine='hooks'"):
        families.of(model_type)


@pytest.mark.parametrize("case", CASES)
def test_every_field_of_every_config_is_read_or_known_to_be_harmless(case: str) -> None:
    model_type, given = CASES[case]
    family = families.of(model_type)
    fields = Fields({"model_type": model_type, **deepcopy(given)}, family.needed)
    family.config(fields), family.layout(fields), fields["tie_word_embeddings"]
    known = {field.name for field in fields_of(type(AutoConfig.for_model(model_type)))}
    assert known - fields._read - HARMLESS - general_fields() == set()


def test_a_field_that_nobody_read_is_refused_where_it_is_on() -> None:
    model_type, given = CASES["llama"]
    fields = Fields({"model_type": model_type, **given}, ())
    with pytest.raises(CheckpointError, match="vocab_size=37 is not supported"):
        fields.require_all_read()


@pytest.mark.parametrize("missing", ["factor", "low_freq_factor", "high_freq_factor"])
def test_a_rotation_without_its_numbers_is_refused(missing: str) -> None:
    model_type, given = CASES["llama 3.1"]
    rope = {name: value for name, value in given["rope_parameters"].items() if name != missing}
    with pytest.raises(CheckpointError, match=missing):
        config_of(model_type, {**given, "rope_parameters": rope})


def test_names_and_defaults_of_older_versions_of_transformers_are_understood() -> None:
    neox = {"vocab_size": 37, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3}
    neox |= {"intermediate_size": 29, "max_position_embeddings": 19, "layer_norm_eps": 1e-5}
    old = config_of("gpt_neox", {**neox, "rotary_pct": 0.5, "rotary_emb_base": 300, "tie_word_embeddings": False})
    assert (old["rotary_dim"], old["rotary_base"], old["parallel_attn_mlp"]) == (4, 300, True)
    _, llama = CASES["llama"]
    given = {name: value for name, value in llama.items() if name != "rope_parameters"}
    scaled = {"type": "linear", "factor": 2.0}
    old = config_of("llama", {**given, "rope_theta": 300.0, "rope_scaling": scaled, "torch_dtype": "float16"})
    assert (old["rotary_base"], old["rotary_scaling_factor"]) == (300.0, 2.0)
    _, gemma = CASES["gemma"]
    assert config_of("gemma", {**gemma, "hidden_act": "gelu"})["act_fn"] == "gelu_pytorch_tanh"


def test_a_new_field_of_a_config_does_not_pass_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    model_type, given = CASES["llama"]
    config_of(model_type, given)
    monkeypatch.setattr("models.loading.families.fields.HARMLESS", HARMLESS - {"attention_dropout"})
    config_of(model_type, given)
    with pytest.raises(CheckpointError, match=r"attention_dropout=0\.1"):
        config_of(model_type, {**given, "attention_dropout": 0.1})
