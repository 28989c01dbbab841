"""What TransformerLens 3.9 had under a name is there under `models.compat`, or says what to do instead."""

import subprocess
import sys
from importlib import import_module

import pytest

from models.compat import HookedTransformer, hook_points, loading, utilities, utils
from tests.conftest import order_one_model

# The lists below are 3.9.0's own: what its modules export, and what notebooks import from them.
UTILS = """
download_file_from_hf clear_huggingface_cache keep_single_column get_dataset print_gpu_mem get_device get_corner
to_numpy remove_batch_dim transpose is_square is_lower_triangular check_structure composition_scores
get_offset_position_ids get_cumsum_along_dim repeat_along_head_dimension filter_dict_by_prefix lm_cross_entropy_loss
lm_accuracy gelu_new gelu_fast solu calc_fan_in_and_fan_out init_xavier_uniform_ init_xavier_normal_
init_kaiming_uniform_ init_kaiming_normal_ is_library_available tokenize_and_concatenate get_tokenizer_with_bos
get_input_with_manually_prepended_bos get_tokens_with_bos_removed get_attention_mask sample_logits SliceInput Slice
get_act_name get_nested_attr set_nested_attr override_or_use_default_value LocallyOverridenDefaults USE_DEFAULT_VALUE
test_prompt warn_if_mps
"""
MODULES = {
    "": "HookedTransformer HookedTransformerConfig FactoredMatrix ActivationCache SVDInterpreter HookedRootModule "
    "TransformerLensKeyValueCache TransformerLensKeyValueCacheEntry utils utilities patching evals head_detector "
    "hook_points components train loading loading_from_pretrained config HookedTransformerKeyValueCache",
    ".HookedTransformer": "HookedTransformer Output Loss SingleLoss LossPerToken",
    ".HookedTransformerConfig": "HookedTransformerConfig",
    ".ActivationCache": "ActivationCache",
    ".FactoredMatrix": "FactoredMatrix",
    ".SVDInterpreter": "SVDInterpreter",
    ".cache.key_value_cache": "TransformerLensKeyValueCache",
    ".components": "AbstractAttention GroupedQueryAttention GatedMLP Attention MLP Embed PosEmbed "
    "Unembed LayerNorm LayerNormPre RMSNorm RMSNormPre TransformerBlock",
    ".components.abstract_attention": "AbstractAttention",
    ".components.mlps.can_be_used_as_mlp": "CanBeUsedAsMLP",
    ".components.mlps.gated_mlp": "GatedMLP",
    ".components.rms_norm": "RMSNorm",
    ".components.transformer_block": "TransformerBlock",
    ".config": "HookedTransformerConfig TransformerBridgeConfig TransformerLensConfig",
    ".config.hooked_transformer_config": "HookedTransformerConfig",
    ".evals": "sanity_check evaluate evaluate_on_dataset induction_loss ioi_eval IOIDataset make_pile_data_loader",
    ".head_detector": "detect_head compute_head_attention_similarity_score get_previous_token_head_detection_pattern "
    "get_duplicate_token_head_detection_pattern get_induction_head_detection_pattern get_supported_heads HEAD_NAMES",
    ".hook_points": "HookPoint HookedRootModule LensHandle HookFunction NamesFilter DeviceType",
    ".HookedRootModule": "HookedRootModule",
    ".loading_from_pretrained": "OFFICIAL_MODEL_NAMES MODEL_ALIASES get_official_model_name make_model_alias_map",
    ".past_key_value_caching": "HookedTransformerKeyValueCache HookedTransformerKeyValueCacheEntry",
    ".supported_models": "OFFICIAL_MODEL_NAMES MODEL_ALIASES",
    ".patching": "generic_activation_patch make_df_from_ranges layer_pos_patch_setter "
    "layer_pos_head_vector_patch_setter layer_head_vector_patch_setter get_act_patch_resid_pre "
    "get_act_patch_resid_mid get_act_patch_attn_out get_act_patch_mlp_out get_act_patch_block_every "
    "get_act_patch_attn_head_out_by_pos get_act_patch_attn_head_out_all_pos get_act_patch_attn_head_all_pos_every "
    "get_act_patch_attn_head_by_pos_every",
    ".train": "HookedTransformerTrainConfig train",
    ".utilities": UTILS,
    ".utilities.activation_functions": "gelu_new gelu_fast solu SUPPORTED_ACTIVATIONS",
    ".utilities.devices": "get_device warn_if_mps move_to_and_update_config",
    ".weight_processing": "ProcessWeights",
    ".utils": UTILS,
}
METHODS = """
OV QK W_E W_E_pos W_K W_O W_Q W_U W_V W_gate W_in W_out W_pos accumulated_bias add_caching_hooks add_hook add_perma_hook
all_composition_scores all_head_labels b_K b_O b_Q b_U b_V b_in b_out cache_all cache_some center_unembed
center_writing_weights check_and_add_hook check_hooks_to_add clear_contexts fill_missing_keys fold_layer_norm
fold_value_biases from_pretrained from_pretrained_no_processing generate generate_stream get_caching_hooks
get_pos_offset get_residual get_token_position hook_points hooks init_weights input_to_embed list_hooks
load_and_process_state_dict load_sample_training_dataset loss_fn move_model_modules_to_device mps n_params_total
process_weights_ refactor_factored_attn_matrices remove_all_hook_fns reset_hooks run_with_cache run_with_hooks
sample_datapoint set_tokenizer set_ungroup_grouped_query_attention set_use_attn_in set_use_attn_result
set_use_hook_mlp_in set_use_split_qkv_input setup to_single_str_token to_single_token to_str_tokens to_string to_tokens
tokens_to_residual_directions
"""


def test_a_module_inside_a_package_can_be_the_first_import():
    code = """from models.compat.components.mlps.gated_mlp import GatedMLP
import models.compat.components.mlps.gated_mlp as module
import models.compat.utilities.devices as devices
from models.compat import HookedRootModule, HookedTransformer, components, config
assert module.GatedMLP is GatedMLP is components.GatedMLP
assert callable(devices.get_device) and isinstance(HookedTransformer, type) and isinstance(HookedRootModule, type)
assert config.HookedTransformerConfig(n_layers=1, d_model=4, d_head=2, n_ctx=3, d_vocab=5).n_heads == 2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_classes_of_parts_are_those_of_the_model():
    from models.compat.components import AbstractAttention, GatedMLP, GroupedQueryAttention, TransformerBlock

    model = order_one_model(n_key_value_heads=2, gated_mlp=True, normalization_type="RMS")
    block = model.blocks[0]
    for part, kind in ((block, TransformerBlock), (block.attn, GroupedQueryAttention), (block.mlp, GatedMLP)):
        assert isinstance(part, kind)
    assert isinstance(block.attn, AbstractAttention)
    with pytest.raises(ImportError, match="T5Block is of models that are not built here"):
        from models.compat.components import T5Block  # noqa: F401


@pytest.mark.parametrize("module", MODULES)
def test_every_name_of_a_module_is_there(module):
    found = import_module(f"models.compat{module}")
    for name in MODULES[module].split():
        assert hasattr(found, name), name


def test_a_name_that_never_was_is_not_there():
    assert set(UTILS.split()) <= set(dir(utils)) == set(dir(utilities)) | {"get_dataset"}
    for module in (utils, utilities, loading, hook_points):
        with pytest.raises(AttributeError, match="get_actname"):
            module.get_actname  # noqa: B018


# What 3.9.0's module has besides, as notebooks import it.
REMOVED = """
NEED_REMOTE_CODE_MODELS NON_HF_HOSTED_MODEL_NAMES PYTHIA_CHECKPOINTS PYTHIA_V0_CHECKPOINTS STANFORD_CRFM_CHECKPOINTS
convert_gpt2_weights convert_hf_model_config convert_llama_weights convert_neel_model_config convert_neox_weights
fill_missing_keys get_basic_config get_checkpoint_labels get_num_params_of_pretrained get_pretrained_model_config
get_pretrained_state_dict
"""


@pytest.mark.parametrize("name", REMOVED.split())
def test_what_was_removed_from_loading_says_what_to_use_instead(name):
    with pytest.raises(ImportError, match=rf"{name} was removed .*4\.0 and is not covered by models\.compat; \w"):
        exec(f"from models.compat.loading_from_pretrained import {name}")
    exec("from models.compat.loading_from_pretrained import make_model_alias_map")


def test_the_names_of_models_lead_to_their_repositories():
    names = loading.make_model_alias_map()
    assert names["gpt2-small"] == names["gpt2"] == "gpt2"
    assert all(names[alias] == loading.get_official_model_name(alias) for alias in names)


def test_every_method_is_there_or_says_what_to_do_instead():
    model = HookedTransformer({"n_layers": 1, "d_model": 8, "d_head": 4, "n_ctx": 4, "d_vocab": 5, "act_fn": "relu"})
    silent = []
    for name in METHODS.split():
        try:
            getattr(model, name)
        except AttributeError as error:
            if "is not covered by models.compat; " not in str(error):
                silent.append(name)
    assert silent == []
    assert not hasattr(model, "generate_stream")
    with pytest.raises(AttributeError, match="no attribute 'generate_sream'"):
        model.generate_sream  # noqa: B018


def test_what_transformer_lens_removed_says_where_it_went_and_the_rest_is_its_own():
    import transformer_lens

    import models.compat

    assert models.compat.supported_models is transformer_lens.supported_models
    with pytest.raises(ImportError, match=r"removed in TransformerLens 4\.0\. Use TransformerBridge"):
        models.compat.HookedEncoder  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'HookedTransfomer'"):
        models.compat.HookedTransfomer  # noqa: B018
