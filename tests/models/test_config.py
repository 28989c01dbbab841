"""Every rejection stands beside the nearest configuration that is accepted."""

import math
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from models import HookedTransformer, HookedTransformerConfig
from models.errors import ConfigError
from tests.conftest import SMALL, small_config

LOCAL = {"use_local_attn": True, "window_size": 3, "attn_types": ("local", "global")}
POST = {"norm_placement": "post"}

# What is refused, a part of the message, and the change to it that is accepted.
REFUSED = [
    ({"act_fn": "swish"}, "act_fn='swish'.*'silu'", {"act_fn": "silu"}),
    ({"act_fn": None}, "act_fn=None", {"attn_only": True}),
    ({"normalization_type": "BN"}, "normalization_type='BN'", {"normalization_type": None}),
    ({"positional_embedding_type": "alibi"}, "'alibi' is not supp", {"positional_embedding_type": "none"}),
    ({"attention_dir": "backward"}, "attention_dir='backward'", {"attention_dir": "bidirectional"}),
    ({"init_mode": "normal"}, "init_mode='normal'", {"init_mode": "xavier_normal"}),
    ({"norm_placement": "middle"}, "norm_placement='middle'", {"norm_placement": "post"}),
    ({"n_heads": -1, "d_head": 5}, "d_model=12 is not a multiple of d_head=5", {"d_head": 4}),
    ({"n_layers": 0}, "n_layers=0 must be at least 1", {"n_layers": 1}),
    ({"n_heads": 0}, "n_heads=0 must be at least 1", {"n_heads": 1}),
    ({"n_ctx": 0}, "n_ctx=0 must be at least 1", {"n_ctx": 1}),
    ({"d_model": 0}, "d_model=0 must be at least 1", {"d_model": 1}),
    ({"d_head": 0}, "d_head=0 must be at least 1", {"d_head": 1}),
    ({"d_mlp": 0}, "d_mlp=0 must be at least 1", {"d_mlp": 1}),
    ({"d_vocab": 0}, "d_vocab=0 must be at least 1, or -1", {"d_vocab": -1}),
    ({"d_vocab_out": 0}, "d_vocab_out=0 must be at least 1", {"d_vocab_out": 1}),
    ({"n_key_value_heads": 0}, "n_key_value_heads=0 must be at least 1", {"n_key_value_heads": 1}),
    ({"n_key_value_heads": 3}, "n_heads=4 is not a multiple of n_key_value_heads=3", {"n_key_value_heads": 2}),
    ({"rotary_dim": 3}, "rotary_dim=3 must be even", {"rotary_dim": 4}),
    ({"rotary_dim": 8}, "between 2 and d_head=6", {"rotary_dim": 6}),
    ({"rotary_dim": 0}, "rotary_dim=0", {"rotary_dim": 2}),
    ({"n_devices": 2}, "n_devices=2", {"n_devices": 1}),
    ({"dtype": torch.int64}, "torch.int64 is not a floating-point", {"dtype": torch.bfloat16}),
    ({"dtype": torch.float8_e4m3fn}, "that models compute in: torch.float64", {"dtype": torch.float16}),
    ({"device": "cpuu"}, "device='cpuu' is none", {"device": "cpu"}),
    ({**LOCAL, "window_size": None}, "needs window_size and attn_types", {"window_size": 1}),
    ({**LOCAL, "attn_types": None}, "needs window_size and attn_types", {"attn_types": ("local", "local")}),
    ({**LOCAL, "window_size": 0}, "window_size=0", {"window_size": 1}),
    ({**LOCAL, "attn_types": ("local",)}, "for each of 2 layers", {"attn_types": ("local", "global")}),
    ({**LOCAL, "attn_types": ("local", "sparse")}, "'sparse'", {"attn_types": ("global", "global")}),
    ({"tie_word_embeddings": True, "d_vocab_out": 5}, "not 5 and 17", {"d_vocab_out": 17}),
    ({**POST, "normalization_type": None}, "needs a normalization_type", {"normalization_type": "RMS"}),
    ({**POST, "parallel_attn_mlp": True}, "excludes parallel_attn_mlp", {"norm_placement": "pre"}),
    ({**POST, "use_normalization_before_and_after": True}, "norms before and after", {"norm_placement": "pre"}),
    ({"residual_scale": 2.0}, "DeepNorm", POST),
    ({"final_norm": True, "normalization_type": None}, "final_norm=True needs", {"final_norm": False}),
    ({"parallel_attn_mlp": True, "attn_only": True}, "parallel_attn_mlp needs an MLP", {"attn_only": False}),
    ({"gated_mlp": True, "act_fn": "solu_ln"}, "gated_mlp with act_fn='solu_ln'", {"act_fn": "solu"}),
    ({"ungroup_grouped_query_attention": True}, "needs n_key_value_heads", {"n_key_value_heads": 2}),
    (
        {"use_attn_in": True, "n_key_value_heads": 2},
        "ungroup the key-value heads first",
        {"ungroup_grouped_query_attention": True},
    ),
    ({"use_attn_in": True, "use_split_qkv_input": True}, "exclude one another", {"use_attn_in": False}),
]  # fmt: skip


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(("changes", "message", "mended"), REFUSED, ids=[str(index) for index in range(len(REFUSED))])
def test_a_refused_configuration_and_its_accepted_twin(changes, message, mended):
    with pytest.raises(ConfigError, match=message):
        small_config(**changes)
    accepted = small_config(**{**changes, **mended})
    if accepted.d_vocab > 0:
        tokens = torch.zeros(1, accepted.n_ctx, dtype=torch.long)
        assert HookedTransformer(accepted)(tokens).shape == (1, accepted.n_ctx, accepted.d_vocab_out)


def test_minus_one_derives_what_transformer_lens_derives():
    config = HookedTransformerConfig(d_model=12, d_head=4, n_layers=2, n_ctx=9, d_vocab=17)
    assert (config.n_heads, config.d_mlp, config.d_vocab_out) == (12 // 4, 4 * 12, 17)
    assert config.attn_scale == math.sqrt(4)
    assert config.initializer_range == 0.8 / math.sqrt(12)
    assert (config.rotary_dim, config.final_norm) == (None, True)
    assert small_config(positional_embedding_type="rotary").rotary_dim == 6
    assert small_config(init_mode="kaiming_normal").initializer_range == 1.0
    assert small_config(attn_only=True, d_mlp=None).d_mlp is None


def test_given_values_are_not_derived():
    config = small_config(d_mlp=7, d_vocab_out=5, attn_scale=3.0, initializer_range=0.5, final_norm=False)
    assert (config.d_mlp, config.d_vocab_out, config.attn_scale) == (7, 5, 3.0)
    assert (config.initializer_range, config.final_norm) == (0.5, False)


def test_a_post_norm_model_has_no_final_norm_unless_asked():
    assert small_config(norm_placement="post").final_norm is False
    assert small_config(norm_placement="post", final_norm=True).final_norm is True


@pytest.mark.parametrize(
    "changes", [{}, LOCAL, {**POST, "residual_scale": 2.0}, {"positional_embedding_type": "rotary"}]
)
def test_to_dict_and_from_dict_are_inverse(changes):
    config = small_config(**changes)
    assert HookedTransformerConfig.from_dict(config.to_dict()) == config


def test_from_dict_takes_what_transformer_lens_writes():
    config = HookedTransformerConfig.from_dict({**SMALL, "checkpoint_index": 3, "clip_qkv": None, "num_experts": None})
    assert config == small_config()
    assert HookedTransformerConfig.from_dict({**SMALL, **LOCAL, "attn_types": ["local", "global"]}) == small_config(
        **LOCAL
    )
    without = HookedTransformerConfig.from_dict({**SMALL, "positional_embedding_type": None})
    assert without.positional_embedding_type == "standard"


@pytest.mark.parametrize(
    ("name", "value", "off"),
    [
        ("clip_qkv", 8.0, None),
        ("num_experts", 4, None),
        ("num_experts", 0, None),
        ("use_attention_sinks", True, False),
        ("use_yarn_rope", True, False),
    ],
)
def test_an_option_that_is_not_built_is_refused_by_name_and_may_stand_there_off(name, value, off):
    with pytest.raises(ConfigError, match=f"{name}={value}.* is not supported"):
        HookedTransformerConfig.from_dict({**SMALL, name: value})
    assert HookedTransformerConfig.from_dict({**SMALL, name: off}) == small_config()


ROTARY = {"positional_embedding_type": "rotary"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_qk_norm": True}, "use_qk_norm is built for rotary positions, not 'standard'"),
        ({"rotary_scaling_factor": 2.0}, "rotary_scaling_factor is built for rotary positions"),
        ({"use_NTK_by_parts_rope": True}, "use_NTK_by_parts_rope is built for rotary positions"),
        ({**ROTARY, "rotary_base_local": 100.0}, "rotary_base_local is the base of local blocks"),
        ({**ROTARY, **LOCAL, "rotary_base_local": -1.0}, "rotary_base_local=-1.0 must be a positive number"),
        ({**ROTARY, "rotary_scaling_factor": 0.0}, "rotary_scaling_factor=0.0 must be a positive number"),
        ({**ROTARY, "rotary_scaling_factor": 2.0, "use_NTK_by_parts_rope": True}, "excludes rotary_base_local and"),
        ({**ROTARY, "use_NTK_by_parts_rope": True, "NTK_by_parts_low_freq_factor": 4.0}, "must be positive and below"),
        ({**ROTARY, "use_NTK_by_parts_rope": True, "NTK_by_parts_factor": 0.0}, "must be positive"),
    ],
)
def test_rotary_options_that_would_do_nothing_or_contradict_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        small_config(**changes)


def test_rotary_options_together():
    small_config(**ROTARY, **LOCAL, rotary_base_local=100.0, rotary_scaling_factor=2.0, use_qk_norm=True)
    small_config(**ROTARY, use_NTK_by_parts_rope=True, use_qk_norm=True)


def test_an_unknown_field_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'n_head' is not a field .* Did you mean 'n_heads'"):
        HookedTransformerConfig.from_dict({**SMALL, "n_head": 4})
    with pytest.raises(ConfigError, match=r"'zzzzzz' is not a field of HookedTransformerConfig\.$"):
        HookedTransformerConfig.from_dict({**SMALL, "zzzzzz": 4})


def test_a_config_is_frozen_and_making_one_touches_no_random_state():
    state = torch.get_rng_state()
    config = small_config(seed=3, init_mode="xavier_normal")
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(AttributeError):
        config.n_layers = 5


@pytest.mark.parametrize("changes", [{}, {"gated_mlp": True}, {"attn_only": True}], ids=str)
def test_n_params_counts_the_matrices_of_the_blocks(changes):
    model = HookedTransformer(small_config(**changes))
    counted = sum(p.numel() for name, p in model.blocks.named_parameters() if ".W_" in name)
    assert model.cfg.n_params == counted


def test_a_model_needs_a_vocabulary():
    with pytest.raises(ConfigError, match="d_vocab is not given"):
        HookedTransformer(small_config(d_vocab=-1))
    assert HookedTransformer(small_config().to_dict()).cfg == small_config()


@pytest.mark.parametrize(
    ("wrong", "right", "complaint"),
    [
        ({"eps": -1.0}, {"eps": 0.0}, "eps=-1.0 must be a number that is not negative"),
        ({"attn_scale": 0.0}, {"attn_scale": 2.0}, "attn_scale=0.0 must be a positive number"),
        ({"attn_scores_soft_cap": float("nan")}, {"attn_scores_soft_cap": 3.0}, "attn_scores_soft_cap=nan"),
        ({"use_attn_scale": False, "attn_scale": 3.0}, {"use_attn_scale": False}, "has no effect"),
        ({"original_architecture": "Olmo2ForCausalLM"}, {"original_architecture": "GPT2LMHeadModel"}, "norms queries"),
        ({"gated_mlp": True, "attn_only": True}, {"gated_mlp": True}, "gated_mlp needs an MLP"),
        ({"dtype": "float64"}, {"dtype": torch.float64}, "dtype='float64' is not a floating-point type"),
        (
            {"use_normalization_before_and_after": True, "normalization_type": None},
            {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
            "needs a normalization_type",
        ),
    ],
)
def test_values_without_a_meaning_are_refused(wrong, right, complaint, as_users_run_it):
    with pytest.raises(ConfigError, match=complaint):
        small_config(**wrong)
    assert small_config(**right)


def test_assigning_to_a_config_says_what_to_do_instead():
    config = small_config()
    with pytest.raises(FrozenInstanceError, match=r"call model.set_use_attn_result\(True\)"):
        config.use_attn_result = True
    with pytest.raises(FrozenInstanceError, match=r"dataclasses\.replace"):
        config.n_ctx = 3
    assert replace(config, n_ctx=3).n_ctx == 3
