"""The fields of a Hugging Face config: defaults filled in, every one read, harmless, refused or told."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from ...errors import CheckpointError
from .impossible import require_possible

BRIDGE = (
    "transformer_lens.model_bridge.TransformerBridge.boot_transformers runs it, "
    "and interp sweeps such a model with engine='hooks'"
)

# What changes how a model is trained, stored or sampled from, and not what it computes.
HARMLESS = frozenset({
    "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "init_std", "pretraining_tp",
    "attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "resid_dropout", "embed_dropout", "dropout",
    "hidden_dropout", "classifier_dropout", "layerdrop", "summary_type", "summary_use_proj", "summary_activation",
    "summary_proj_to_labels", "summary_first_dropout", "reorder_and_upcast_attn", "is_decoder",
})  # fmt: skip

# What `transformers`, older versions of it and the makers of released models write, and no model computes with.
_NOTES = frozenset({
    "model_type", "transformers_version", "transformers.js_config", "_name_or_path", "_attn_implementation_autoset",
    "_flash_attn_2_enabled", "output_attentions", "gradient_checkpointing", "torchscript",
    "tokenizer_class", "task_specific_params",
    "cache_implementation", "prefix", "output_past", "n_ctx", "rotary", "is_llama_config", "activation_dropout",
    "hidden_dropout_prob", "attention_probs_dropout_prob",
})  # fmt: skip

# What other architectures have, or `transformers` reads in any config, with the values that leave it off.
_ELSEWHERE: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys((
        "sliding_window", "attention_chunk_size", "layer_types", "no_rope_layers", "use_sliding_window",
        "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "clip_qkv", "alibi",
        "attention_bias", "mlp_bias", "qk_layernorm", "use_qk_norm", "use_parallel_residual",
        "num_experts", "num_local_experts", "n_routed_experts", "add_cross_attention",
        "scale_attn_by_inverse_layer_idx", "use_bidirectional_attention",
    ), (None, False, 0, [])),
    **dict.fromkeys((
        "attention_multiplier", "residual_multiplier", "embedding_multiplier", "logits_scaling", "logit_scale",
    ), (None, 1)),
    "is_causal": (None, True),
}  # fmt: skip


class Fields:
    """The config as `transformers` understands it: old names translated, defaults filled in.

    Each field is noted as it is read, so that `require_all_read` can refuse what nobody looked at.
    """

    def __init__(self, given: Mapping[str, Any], needed: tuple[str, ...]) -> None:
        from transformers import AutoConfig  # heavy, and needed only for checkpoints of its own

        # The last one gives single layers other fields than the rest.
        for name in ("quantization_config", "compression_config", "per_layer_config"):
            if given.get(name):
                raise refused(name, given[name])
        require_possible(given)
        model_type = str(given.get("model_type"))
        try:
            config = AutoConfig.for_model(model_type, **{k: v for k, v in given.items() if k != "model_type"})
        except Exception as error:  # its validators raise errors of several packages
            raise CheckpointError(f"this is no config of a {model_type!r} model: {error}") from error
        names = {theirs: ours for ours, theirs in config.attribute_map.items()}
        missing = [name for name in needed if given.get(name) is None and given.get(names.get(name, name)) is None]
        if missing:
            raise CheckpointError(f"{', '.join(missing)} is missing")
        self._given = frozenset(given)
        self._values: dict[str, Any] = config.to_dict()
        self._class = type(config)
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._values[name]

    def get(self, name: str) -> Any:
        """The value of a field that need not be there, or None."""
        self._read.add(name)
        return self._values.get(name)

    def require(self, name: str, value: object) -> None:
        """Nothing, if an option that we do not build has the value that leaves it off, or is not given.

        Raises:
            CheckpointError: it is on.
        """
        if self.get(name) not in (value, None):
            raise refused(name, self[name])

    def ratio(self, whole: str, parts: str) -> int:
        """The quotient of two sizes.

        Raises:
            CheckpointError: there is a remainder.
        """
        if self[parts] < 1 or self[whole] % self[parts]:
            raise CheckpointError(f"{whole}={self[whole]} is not a multiple of {parts}={self[parts]}")
        return int(self[whole] // self[parts])

    def require_all_read(self) -> None:
        """Nothing, if every option of this architecture was read, is harmless or has its default.

        Raises:
            CheckpointError: an option that is on, and that a later version of `transformers` added or that this
                architecture does not have.
        """
        for name, off in _ELSEWHERE.items():
            if name not in self._read and self._values.get(name) not in off:
                raise refused(name, self._values[name])
        for field in fields(self._class):
            name = field.name
            if name in self._read | HARMLESS | general_fields() or name not in self._values:
                continue
            default = field.default_factory() if field.default_factory is not MISSING else field.default
            if self._values[name] not in (default, None):
                raise refused(name, self._values[name])

    def unknown(self) -> list[str]:
        """The fields that were given, are on, and that neither `transformers` nor this package is known to use."""
        known = self._read | HARMLESS | _NOTES | _ELSEWHERE.keys() | general_fields()
        known |= {field.name for field in fields(self._class)}
        # What `transformers` understood under an older name is no longer among its values.
        return sorted(name for name in self._given - known if self._values.get(name))


def general_fields() -> frozenset[str]:
    """The fields that every config has, and that do not change what a model computes."""
    from transformers import PreTrainedConfig

    return frozenset(field.name for field in fields(PreTrainedConfig))


def refused(name: str, value: object) -> CheckpointError:
    """The error for an option that our model does not have, with the way that remains."""
    return CheckpointError(f"{name}={value!r} is not supported by HookedTransformer; {BRIDGE}")
