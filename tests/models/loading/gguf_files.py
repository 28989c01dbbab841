"""Tiny GGUF files, written as llama.cpp's converter writes them, from models of `transformers` with random weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

D_VOCAB = 40
LLAMA = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 32,
    "vocab_size": D_VOCAB,
    "max_position_embeddings": 29,
    "rms_norm_eps": 1e-3,
}
"""Rows of a multiple of 32 numbers, which quantised types need, and sizes that differ pairwise."""

LLAMA_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
GEMMA_2_NORMS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}

Tensors = dict[str, np.ndarray]


def with_random_weights(model: PreTrainedModel, seed: int = 0) -> Any:
    """The model in evaluation, its weights of order one in steps of 1/256, which GGUF's norms of Gemma keep."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            mean = 1.0 if parameter.ndim == 1 else 0.0
            drawn = mean + 0.5 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_((drawn * 256).round() / 256)
    return model.eval()


def random_llama(**changes: Any) -> LlamaForCausalLM:
    """A Llama whose every weight matters."""
    config = LlamaConfig(**{**LLAMA, "rope_theta": 300.0, "tie_word_embeddings": False, **changes})
    return with_random_weights(LlamaForCausalLM(config))


def random_gpt2() -> GPT2LMHeadModel:
    """A GPT-2 whose every weight matters."""
    sizes = {"vocab_size": 40, "n_positions": 29, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_inner": 56}
    return with_random_weights(GPT2LMHeadModel(GPT2Config(**sizes, layer_norm_epsilon=1e-3)))


def llama_fields(config: Any, architecture: str = "llama") -> dict[str, Any]:
    """The metadata of a Llama-like config, as the converter names it."""
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    fields = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": d_head,
        "attention.layer_norm_rms_epsilon": getattr(config, "rms_norm_eps", None),
        "rope.freq_base": 300.0,
        "rope.dimension_count": d_head,
        "vocab_size": config.vocab_size,
    }
    return {f"{architecture}.{name}": value for name, value in fields.items() if value is not None}


def pairs_side_by_side(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """The row that turns with row i of a head, i + d_head/2 there, comes right behind it."""
    d_head = len(rows) // n_heads
    order = [
        head * d_head + half * d_head // 2 + i for head in range(n_heads) for i in range(d_head // 2) for half in (0, 1)
    ]
    return rows[order]


def llama_tensors(model: Any, permuted: bool = True, norms: Mapping[str, str] = LLAMA_NORMS) -> Tensors:
    """The weights under the file's names; queries and keys in its order."""
    inside = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", **norms,
    }  # fmt: skip
    outside = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    tensors = renamed(model, "model.layers.", inside, outside)
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    for name in tensors if permuted else ():
        for stem, n_heads in heads.items():
            if f".{stem}." in name:
                tensors[name] = pairs_side_by_side(tensors[name], n_heads)
    return tensors


def gemma_tensors(model: Any, norms: Mapping[str, str]) -> Tensors:
    """The weights under the file's names, one added to those of every norm."""
    tensors = llama_tensors(model, permuted=False, norms=norms)
    return {name: numbers + 1 if numbers.ndim == 1 else numbers for name, numbers in tensors.items()}


def neox_tensors(model: Any) -> Tensors:
    """The weights under the file's names: all queries, then all keys, then all values."""
    inside = {
        "input_layernorm": "attn_norm", "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
        "post_attention_layernorm": "ffn_norm", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
    }  # fmt: skip
    outside = {
        "gpt_neox.embed_in": "token_embd",
        "gpt_neox.final_layer_norm": "output_norm",
        "embed_out": "output",
        "lm_head": "output",
    }
    tensors = renamed(model, "gpt_neox.layers.", inside, outside)
    n_heads = model.config.num_attention_heads
    d_head = model.config.hidden_size // n_heads
    order = [(head * 3 + part) * d_head + i for part in range(3) for head in range(n_heads) for i in range(d_head)]
    return {name: numbers[order] if "attn_qkv" in name else numbers for name, numbers in tensors.items()}


def gpt2_tensors(model: Any) -> Tensors:
    """The weights under the file's names, matrices with the outputs first."""
    inside = {
        "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
        "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    }  # fmt: skip
    outside = {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm"}
    tensors = renamed(model, "transformer.h.", inside, outside)
    turned = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")
    return {name: np.ascontiguousarray(x.T) if name.endswith(turned) else x for name, x in tensors.items()}


def renamed(model: Any, blocks: str, inside: Mapping[str, str], outside: Mapping[str, str]) -> Tensors:
    """The model's weights by GGUF's names; a tied output once."""
    tensors = {}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        stem, what = name.rsplit(".", 1)
        if stem.startswith(blocks):
            layer, stem = stem.removeprefix(blocks).split(".", 1)
            tensors[f"blk.{layer}.{inside[stem]}.{what}"] = weight.numpy()
        else:
            tensors[f"{outside[stem]}.{what}"] = weight.numpy()
    return tensors


def write_gguf(
    path: Path,
    architecture: str,
    fields: Mapping[str, Any],
    tensors: Tensors,
    kind_of: Callable[[str], Kind] = lambda name: Kind.F32,
) -> Path:
    """The file, by the package's own writer. Vectors stay in float32, as the converter keeps them.

    Args:
        fields: metadata; floats become float32, whole numbers uint32.
        kind_of: the type that the matrix of a name is stored in.
    """
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in fields.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add.get(type(value), writer.add_array)(name, value)
    for name, numbers in tensors.items():
        kind = kind_of(name) if numbers.ndim == 2 else Kind.F32
        numbers = np.ascontiguousarray(numbers, dtype=np.float32)
        writer.add_tensor(name, gguf.quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_llama(path: Path, model: Any, kind_of: Callable[[str], Kind] = lambda name: Kind.F32, **fields: Any) -> Path:
    """A Llama as a GGUF file, with further metadata or some changed (`__` for a dot; None leaves a field out)."""
    changes = {name.replace("__", "."): value for name, value in fields.items()}
    given = {**llama_fields(model.config), **changes}
    return write_gguf(
        path,
        "llama",
        {name: value for name, value in given.items() if value is not None},
        llama_tensors(model),
        kind_of,
    )
