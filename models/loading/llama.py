"""Llama-type models from a Hugging Face folder: `config.json` and `model.safetensors`, nothing unpickled."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..config import Activation, HookedTransformerConfig
from ..errors import CheckpointError
from ..transformer import HookedTransformer
from .saved_tokenizer import TOKENIZER, rebuilt_tokenizer
from .state import require_finite

_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_pytorch_tanh",
}
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


def load_llama_folder(folder: str | Path, dtype: torch.dtype | None = None) -> HookedTransformer:
    """The Llama-type model that the folder holds, weights as they are: nothing is folded or centred.

    Rotary pairs are the halves of each head, as in the folder. The tokenizer is read if there is a `tokenizer.json`.

    Args:
        dtype: default: the one the weights are stored in.

    Raises:
        CheckpointError: files missing or broken, another architecture, an option we do not build, names or shapes
            of weights that the config does not ask for, values that are not finite.

    Source: Touvron et al. (2023), "LLaMA", section 2.2.
    """
    folder = Path(folder)
    fields = _read_config(folder / "config.json")
    stored = _read_weights(folder / "model.safetensors")
    config = _config(fields, dtype or next(iter(stored.values())).dtype)
    state = _state(config, _Weights(stored, config.dtype))
    model = HookedTransformer(config)
    model.load_state_dict(state)
    if (folder / TOKENIZER).is_file():
        model.set_tokenizer(rebuilt_tokenizer(folder / TOKENIZER, _special_tokens(folder)))
    return model


def _read_config(path: Path) -> dict[str, Any]:
    fields = _json(path)
    if fields.get("model_type") != "llama":
        raise CheckpointError(
            f"{path} describes a model of type {fields.get('model_type')!r}; only 'llama' is read here"
        )
    return fields


def _json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path} holds a {type(fields).__name__} where an object is expected")
    return fields


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; weights must stand in one model.safetensors")
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
    if not weights:
        raise CheckpointError(f"{path} holds no weights")
    return weights


def _config(fields: dict[str, Any], dtype: torch.dtype) -> HookedTransformerConfig:
    needed = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    missing = [name for name in (*needed, "max_position_embeddings", "rms_norm_eps") if name not in fields]
    if missing:
        raise CheckpointError(f"config.json lacks {', '.join(missing)}")
    rope = {**(fields.get("rope_scaling") or {}), **(fields.get("rope_parameters") or {})}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type != "default":
        raise CheckpointError(f"rotary positions of type {rope_type!r} are not supported; only 'default' is")
    for bias in ("attention_bias", "mlp_bias"):
        if fields.get(bias):
            raise CheckpointError(f"{bias}=True is not supported: only Llama-type models without biases are read")
    activation = fields.get("hidden_act", "silu")
    if activation not in _ACTIVATIONS:
        raise CheckpointError(f"hidden_act={activation!r} is not supported; only {', '.join(_ACTIVATIONS)} are")
    n_heads, n_kv_heads = fields["num_attention_heads"], fields.get("num_key_value_heads")
    return HookedTransformerConfig(
        d_model=fields["hidden_size"],
        d_head=fields.get("head_dim") or fields["hidden_size"] // n_heads,
        n_layers=fields["num_hidden_layers"],
        n_ctx=fields["max_position_embeddings"],
        n_heads=n_heads,
        n_key_value_heads=n_kv_heads if n_kv_heads != n_heads else None,
        d_mlp=fields["intermediate_size"],
        d_vocab=fields["vocab_size"],
        act_fn=_ACTIVATIONS[activation],
        gated_mlp=True,
        normalization_type="RMS",
        eps=fields["rms_norm_eps"],
        positional_embedding_type="rotary",
        rotary_base=rope.get("rope_theta", fields.get("rope_theta", 10000.0)),
        tie_word_embeddings=bool(fields.get("tie_word_embeddings")),
        qkv_bias=False,
        original_architecture="LlamaForCausalLM",
        init_weights=False,
        dtype=dtype,
    )


class _Weights:
    """The stored weights, each taken once, with the shape that the config asks for."""

    def __init__(self, stored: dict[str, Tensor], dtype: torch.dtype) -> None:
        self.remaining = dict(stored)
        self.dtype = dtype

    def take(self, name: str, *shape: int) -> Tensor:
        """The weight in the model's dtype."""
        if name not in self.remaining:
            raise CheckpointError(f"model.safetensors lacks {name}")
        weight = self.remaining.pop(name)
        if tuple(weight.shape) != shape:
            raise CheckpointError(f"{name} has shape {list(weight.shape)}; the config asks for {list(shape)}")
        require_finite(name, weight)
        return weight.to(self.dtype)

    def heads(self, name: str, n_heads: int, d_head: int, d_model: int) -> Tensor:
        """A projection `[head * d_head, d_model]` as `[head, d_model, d_head]`."""
        return self.take(name, n_heads * d_head, d_model).unflatten(0, (n_heads, d_head)).transpose(1, 2)


def _state(config: HookedTransformerConfig, weights: _Weights) -> dict[str, Tensor]:
    state = {
        "embed.W_E": weights.take("model.embed_tokens.weight", config.d_vocab, config.d_model),
        "ln_final.w": weights.take("model.norm.weight", config.d_model),
        "unembed.b_U": torch.zeros(config.d_vocab, dtype=config.dtype),
    }
    for layer in range(config.n_layers):
        block = {**_attention_state(config, weights, layer), **_mlp_state(config, weights, layer)}
        state.update({f"blocks.{layer}.{name}": weight for name, weight in block.items()})
    # Some folders store a tied matrix a second time; the model's own loading checks that the two are equal.
    if not config.tie_word_embeddings or "lm_head.weight" in weights.remaining:
        state["unembed.W_U"] = weights.take("lm_head.weight", config.d_vocab, config.d_model).T
    if weights.remaining:
        raise CheckpointError(f"model.safetensors has weights without a place: {sorted(weights.remaining)[:3]} ...")
    return state


def _attention_state(config: HookedTransformerConfig, weights: _Weights, layer: int) -> dict[str, Tensor]:
    theirs, d_model, d_head = f"model.layers.{layer}.self_attn", config.d_model, config.d_head
    n_heads, n_kv_heads = config.n_heads, config.n_kv_heads
    grouped = "" if config.n_key_value_heads is None else "_"
    W_O = weights.take(f"{theirs}.o_proj.weight", d_model, n_heads * d_head).T.unflatten(0, (n_heads, d_head))
    return {
        "ln1.w": weights.take(f"model.layers.{layer}.input_layernorm.weight", d_model),
        "attn.W_Q": weights.heads(f"{theirs}.q_proj.weight", n_heads, d_head, d_model),
        f"attn.{grouped}W_K": weights.heads(f"{theirs}.k_proj.weight", n_kv_heads, d_head, d_model),
        f"attn.{grouped}W_V": weights.heads(f"{theirs}.v_proj.weight", n_kv_heads, d_head, d_model),
        "attn.W_O": W_O,
        "attn.b_O": torch.zeros(d_model, dtype=config.dtype),
    }


def _mlp_state(config: HookedTransformerConfig, weights: _Weights, layer: int) -> dict[str, Tensor]:
    theirs, d_model, d_mlp = f"model.layers.{layer}", config.d_model, config.d_mlp or 0
    return {
        "ln2.w": weights.take(f"{theirs}.post_attention_layernorm.weight", d_model),
        "mlp.W_gate": weights.take(f"{theirs}.mlp.gate_proj.weight", d_mlp, d_model).T,
        "mlp.W_in": weights.take(f"{theirs}.mlp.up_proj.weight", d_mlp, d_model).T,
        "mlp.W_out": weights.take(f"{theirs}.mlp.down_proj.weight", d_model, d_mlp).T,
        "mlp.b_in": torch.zeros(d_mlp, dtype=config.dtype),
        "mlp.b_out": torch.zeros(d_model, dtype=config.dtype),
    }


def _special_tokens(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    settings = _json(path) if path.is_file() else {}
    # A token is stored as its text, or as an object that describes it.
    given = {name: settings.get(name) for name in _SPECIAL_TOKENS}
    return {name: token["content"] if isinstance(token, dict) else token for name, token in given.items()}
