"""The config that a GGUF file's metadata gives, in the fields of Hugging Face's `config.json`.

Every field of the file's architecture is used, or is known to change nothing, or is refused by its name.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError
from .gguf_architectures import Architecture
from .gguf_file import GgufFile
from .gguf_metadata import Metadata
from .gguf_names import require_own_names
from .gguf_rotary import ROTARY_FACTORS as ROTARY_FACTORS
from .gguf_rotary import rotary_scaling

_EMBEDDING = "token_embd.weight"
_RMS = "attention.layer_norm_rms_epsilon"
_LAYER_NORM = "attention.layer_norm_epsilon"
_GEMMA_3_PATTERN = 6
# No field of Hugging Face's: its OLMo has this one.
_OLMO_EPSILON = 1e-5
# The depths at which Gemma's largest models scale scores by d_model / heads, and not by the size of a head.
_LARGEST_GEMMA = {"gemma2": 46, "gemma3_text": 62}


def hugging_face_config(file: GgufFile, architecture: Architecture) -> dict[str, Any]:
    """The fields of a `config.json`, `model_type` among them.

    Raises:
        CheckpointError: a field that is missing, of the wrong type or size, or not read here.
    """
    require_own_names(file)
    metadata = Metadata(file)
    if _EMBEDDING not in file.tensors:
        raise CheckpointError(f"{file.path} has no tensor {_EMBEDDING!r}: it holds no language model")
    config: dict[str, Any] = {
        "model_type": architecture.model_type,
        "vocab_size": file.tensors[_EMBEDDING].shape[0],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        **{f"{name}_token_id": file.fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")},
    }
    build = {"gpt2": _gpt2, "gpt_neox": _neox}.get(architecture.model_type, _llama_like)
    config.update(build(file, metadata, architecture.model_type))
    metadata.require_all_read()
    return config


def _llama_like(file: GgufFile, metadata: Metadata, model_type: str) -> dict[str, Any]:
    config = _sizes(metadata)
    config["num_key_value_heads"] = metadata.size("attention.head_count_kv", config["num_attention_heads"])
    config["head_dim"] = metadata.size(
        "attention.key_length", config["hidden_size"] // config["num_attention_heads"] or 1
    )
    for same in ("attention.value_length", "rope.dimension_count"):
        metadata.require(same, config["head_dim"])
    if model_type == "olmo":
        metadata.require(_LAYER_NORM, _OLMO_EPSILON)
        config["clip_qkv"] = metadata.positive("attention.clamp_kqv", 0.0) or None
    else:
        config["rms_norm_eps"] = metadata.positive(_RMS)
    config["rope_theta"] = metadata.positive("rope.freq_base", 10000.0)
    config["rope_scaling"] = rotary_scaling(file, metadata, config["head_dim"], config["rope_theta"])
    config["hidden_act"] = "silu"
    config["attention_bias"] = model_type == "llama" and "blk.0.attn_q.bias" in file.tensors
    if model_type.startswith("gemma"):
        config.update(_gemma(metadata, model_type, config))
    else:
        # A window as long as the context hides nothing.
        window = metadata.size("attention.sliding_window", config["max_position_embeddings"])
        if window < config["max_position_embeddings"]:
            raise metadata.refused("attention.sliding_window", window)
    return config


def _gemma(metadata: Metadata, model_type: str, config: Mapping[str, Any]) -> dict[str, Any]:
    added: dict[str, Any] = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}
    if model_type == "gemma":
        return added
    n_layers = config["num_hidden_layers"]
    largest = n_layers == _LARGEST_GEMMA[model_type]
    heads = config["num_attention_heads"]
    added["query_pre_attn_scalar"] = config["hidden_size"] // heads if largest else config["head_dim"]
    added["sliding_window"] = metadata.size("attention.sliding_window")
    for ours, theirs in (("attn_logit_softcapping", "attn"), ("final_logit_softcapping", "final")):
        cap = metadata.positive(f"{theirs}_logit_softcapping", 0.0)
        added[ours] = cap or None
    every = 2 if model_type == "gemma2" else _GEMMA_3_PATTERN
    added["layer_types"] = [
        "full_attention" if layer % every == every - 1 else "sliding_attention" for layer in range(n_layers)
    ]
    if model_type == "gemma3_text":
        added["rope_local_base_freq"] = metadata.positive("rope.freq_base_swa", 10000.0)
    return added


def _gpt2(file: GgufFile, metadata: Metadata, model_type: str) -> dict[str, Any]:
    sizes = _sizes(metadata)
    return {
        "n_embd": sizes["hidden_size"],
        "n_layer": sizes["num_hidden_layers"],
        "n_head": sizes["num_attention_heads"],
        "n_positions": sizes["max_position_embeddings"],
        "n_inner": sizes["intermediate_size"],
        "layer_norm_epsilon": metadata.positive(_LAYER_NORM),
        "activation_function": "gelu_new",
    }


def _neox(file: GgufFile, metadata: Metadata, model_type: str) -> dict[str, Any]:
    sizes = _sizes(metadata)
    d_head = sizes["hidden_size"] // sizes["num_attention_heads"]
    return {
        **sizes,
        "layer_norm_eps": metadata.positive(_LAYER_NORM),
        "rotary_pct": metadata.size("rope.dimension_count", d_head) / d_head,
        "rotary_emb_base": metadata.positive("rope.freq_base", 10000.0),
        "rope_scaling": rotary_scaling(file, metadata, d_head, 10000.0),
        "use_parallel_residual": metadata.truth("use_parallel_residual", True),
        "hidden_act": "gelu",
        "attention_bias": True,
    }


def _sizes(metadata: Metadata) -> dict[str, Any]:
    sizes = {
        "hidden_size": metadata.size("embedding_length"),
        "intermediate_size": metadata.size("feed_forward_length"),
        "num_hidden_layers": metadata.size("block_count"),
        "num_attention_heads": metadata.size("attention.head_count"),
        "max_position_embeddings": metadata.size("context_length"),
    }
    if sizes["num_attention_heads"] > sizes["hidden_size"]:
        raise metadata.refused("attention.head_count", sizes["num_attention_heads"])
    return sizes
