"""The configuration of a model: TransformerLens' field names and defaults, for the options this package builds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, get_args

import torch

from .dtypes import checked_dtype
from .errors import ConfigError
from .present_device import named_device

Activation = Literal["relu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "silu", "solu", "solu_ln"]
Normalization = Literal["LN", "LNPre", "RMS", "RMSPre", "ScaleNorm"]
Positions = Literal["standard", "rotary", "shortformer", "none"]
InitMode = Literal["gpt2", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"]

UNSET = -1
"""TransformerLens' mark for "to be derived": kept, so that its configs load unchanged."""


@dataclass(frozen=True)
class HookedTransformerConfig:
    """What the model is: shapes, variants, and which optional hook points fire.

    The first block of fields is TransformerLens 3.9's, with its names and defaults; `-1` means "derive it".
    The last block is ours. A config has no effect of its own: `seed` and `init_mode` are read by
    `models.initialisation`, never when the config is made.

    Raises:
        ConfigError: on construction, for values that contradict one another or that are not supported.
    """

    d_model: int
    d_head: int
    n_layers: int
    n_ctx: int
    n_heads: int = UNSET
    d_mlp: int | None = None
    d_vocab: int = UNSET
    d_vocab_out: int = UNSET
    act_fn: Activation | None = "relu"
    attn_only: bool = False
    gated_mlp: bool = False
    n_key_value_heads: int | None = None
    normalization_type: Normalization | None = "LN"
    final_rms: bool = False
    eps: float = 1e-5
    use_normalization_before_and_after: bool = False
    parallel_attn_mlp: bool = False
    positional_embedding_type: Positions = "standard"
    rotary_dim: int | None = None
    rotary_base: float | int = 10000
    rotary_adjacent_pairs: bool = False
    rotary_base_local: float | int | None = None
    rotary_scaling_factor: float = 1.0
    use_NTK_by_parts_rope: bool = False
    NTK_by_parts_low_freq_factor: float = 1.0
    NTK_by_parts_high_freq_factor: float = 4.0
    NTK_by_parts_factor: float = 8.0
    NTK_original_ctx_len: int = 8192
    use_qk_norm: bool = False
    attention_dir: Literal["causal", "bidirectional"] = "causal"
    use_attn_scale: bool = True
    attn_scale: float = -1.0
    scale_attn_by_inverse_layer_idx: bool = False
    use_local_attn: bool = False
    window_size: int | None = None
    attn_types: Sequence[Literal["global", "local"]] | None = None
    attn_scores_soft_cap: float = -1.0
    output_logits_soft_cap: float = -1.0
    tie_word_embeddings: bool = False
    use_attn_result: bool = False
    use_split_qkv_input: bool = False
    use_hook_mlp_in: bool = False
    use_attn_in: bool = False
    use_hook_tokens: bool = False
    ungroup_grouped_query_attention: bool = False
    init_mode: InitMode = "gpt2"
    initializer_range: float = -1.0
    init_weights: bool = True
    seed: int | None = None
    dtype: torch.dtype = torch.float32
    device: str | None = None
    default_prepend_bos: bool = True
    tokenizer_prepends_bos: bool | None = None
    tokenizer_name: str | None = None
    model_name: str = "custom"
    original_architecture: str | None = None
    n_devices: int = 1
    # Ours: what TransformerLens has no name for.
    qkv_bias: bool = True
    norm_placement: Literal["pre", "post"] = "pre"
    residual_scale: float = 1.0
    final_norm: bool | None = None

    def __post_init__(self) -> None:
        self._check_literals()
        self._check_positive()
        self._derive()
        self._check_sizes()
        self._check_combinations()

    @property
    def n_params(self) -> int:
        """Weights of the blocks, without embeddings, biases and norms (the count of Kaplan et al., 2020)."""
        attention = 4 * self.d_model * self.d_head * self.n_heads
        mlp = 0 if self.attn_only else self.d_model * (self.d_mlp or 0) * (3 if self.gated_mlp else 2)
        return self.n_layers * (attention + mlp)

    @property
    def n_kv_heads(self) -> int:
        """Heads that have keys and values of their own."""
        return self.n_key_value_heads or self.n_heads

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "HookedTransformerConfig":
        """The config that a dictionary of TransformerLens' fields describes.

        A field of TransformerLens' that we do not support may stand there if it is off.

        Raises:
            ConfigError: a name that is not known, or a value that asks for what is not supported.
        """
        require_field_names(values)
        for name, value in values.items():
            if name in _NOT_SUPPORTED and value != _NOT_SUPPORTED[name]:
                raise ConfigError(f"{name}={value!r} is not supported; only models that leave it unset can be built")
        names = {field.name for field in fields(cls)}
        known = {name: value for name, value in values.items() if name in names}
        if known.get("positional_embedding_type") is None:
            known.pop("positional_embedding_type", None)
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Every field by name; `HookedTransformerConfig.from_dict` reads it back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def is_layer_norm_activation(self) -> bool:
        """Whether a norm follows the activation function (SoLU with LayerNorm)."""
        return self.act_fn == "solu_ln"

    def _check_literals(self) -> None:
        choices: dict[str, Any] = {
            "act_fn": Activation,
            "normalization_type": Normalization,
            "positional_embedding_type": Positions,
            "init_mode": InitMode,
            "attention_dir": Literal["causal", "bidirectional"],
            "norm_placement": Literal["pre", "post"],
        }
        for name, literal in choices.items():
            value, allowed = getattr(self, name), get_args(literal)
            optional = name == "normalization_type" or (name == "act_fn" and self.attn_only)
            if value not in allowed and not (value is None and optional):
                raise ConfigError(f"{name}={value!r} is not supported; choose one of {', '.join(map(repr, allowed))}")

    def _derive(self) -> None:
        if self.n_heads == UNSET:
            if self.d_model % self.d_head:
                raise ConfigError(
                    f"n_heads is not given and d_model={self.d_model} is not a multiple of d_head={self.d_head}"
                )
            self._set("n_heads", self.d_model // self.d_head)
        if self.attn_types is not None:
            self._set("attn_types", tuple(self.attn_types))
        if self.d_mlp is None and not self.attn_only:
            self._set("d_mlp", 4 * self.d_model)
        if self.d_vocab_out == UNSET:
            self._set("d_vocab_out", self.d_vocab)
        if self.attn_scale == -1.0 and self.use_attn_scale:
            self._set("attn_scale", math.sqrt(self.d_head))
        if self.rotary_dim is None and self.positional_embedding_type == "rotary":
            self._set("rotary_dim", self.d_head)
        if self.initializer_range < 0:
            self._set("initializer_range", 0.8 / math.sqrt(self.d_model) if self.init_mode == "gpt2" else 1.0)
        if self.final_norm is None:
            self._set("final_norm", self.normalization_type is not None and self.norm_placement == "pre")
        if self.device is None:
            self._set("device", "cuda" if torch.cuda.is_available() else "cpu")

    def _check_positive(self) -> None:
        # Before anything is derived: the derivations divide by these.
        for name in ("d_model", "d_head", "n_layers", "n_ctx", "d_mlp", "n_key_value_heads", "window_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        if self.n_heads < 1 and self.n_heads != UNSET:
            raise ConfigError(f"n_heads={self.n_heads} must be at least 1")
        for name in ("d_vocab", "d_vocab_out"):
            value = getattr(self, name)
            if value < 1 and value != UNSET:
                raise ConfigError(f"{name}={value} must be at least 1, or -1 to take it from the tokenizer")

    def _check_sizes(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ConfigError(f"n_heads={self.n_heads} is not a multiple of n_key_value_heads={self.n_key_value_heads}")
        if self.rotary_dim is not None and (self.rotary_dim % 2 or not 2 <= self.rotary_dim <= self.d_head):
            raise ConfigError(f"rotary_dim={self.rotary_dim} must be even and between 2 and d_head={self.d_head}")
        if self.n_devices != 1:
            raise ConfigError(f"n_devices={self.n_devices}: a model lives on one device here")
        checked_dtype(self.dtype)
        named_device(self.device or "cpu")
        if not 0 <= self.eps < math.inf:
            raise ConfigError(f"eps={self.eps} must be a number that is not negative")
        for name in ("attn_scale", "rotary_base", "rotary_base_local", "rotary_scaling_factor", "residual_scale"):
            value = getattr(self, name)
            unset = value is None or (name == "attn_scale" and value == -1.0 and not self.use_attn_scale)
            if not unset and not 0 < value < math.inf:
                raise ConfigError(f"{name}={value} must be a positive number")
        for name in ("attn_scores_soft_cap", "output_logits_soft_cap"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name}={getattr(self, name)} must be a number, -1 for no cap")

    def _check_combinations(self) -> None:
        if self.original_architecture in _DIFFERENT_BLOCKS:
            raise ConfigError(
                f"original_architecture={self.original_architecture!r} is not supported: its attention norms queries "
                "and keys, which would be left out without a word"
            )
        if self.use_local_attn:
            if self.window_size is None or self.attn_types is None:
                raise ConfigError(
                    "use_local_attn needs window_size and attn_types ('global' or 'local' for each layer)"
                )
            if len(self.attn_types) < self.n_layers or set(self.attn_types) - {"global", "local"}:
                raise ConfigError(
                    f"attn_types={self.attn_types} must name 'global' or 'local' for each of {self.n_layers} layers"
                )
        self._check_rotary()
        if self.tie_word_embeddings and self.d_vocab_out != self.d_vocab:
            raise ConfigError(
                f"a tied unembedding needs d_vocab_out == d_vocab, not {self.d_vocab_out} and {self.d_vocab}"
            )
        if self.norm_placement == "post":
            if self.normalization_type is None:
                raise ConfigError("norm_placement='post' needs a normalization_type")
            if self.parallel_attn_mlp or self.use_normalization_before_and_after:
                raise ConfigError("norm_placement='post' excludes parallel_attn_mlp and norms before and after")
        elif self.residual_scale != 1.0:
            raise ConfigError("residual_scale belongs to post-norm blocks (DeepNorm); set norm_placement='post'")
        if self.final_norm and self.normalization_type is None:
            raise ConfigError("final_norm=True needs a normalization_type")
        if self.parallel_attn_mlp and self.attn_only:
            raise ConfigError("parallel_attn_mlp needs an MLP, and attn_only leaves it out")
        if not self.use_attn_scale and self.attn_scale != -1.0:
            raise ConfigError(f"attn_scale={self.attn_scale} has no effect with use_attn_scale=False")
        if self.gated_mlp and self.attn_only:
            raise ConfigError("gated_mlp needs an MLP, and attn_only leaves it out")
        if self.use_normalization_before_and_after and self.normalization_type is None:
            raise ConfigError("use_normalization_before_and_after needs a normalization_type")
        if self.gated_mlp and self.is_layer_norm_activation():
            raise ConfigError("gated_mlp with act_fn='solu_ln' is not supported")
        if self.ungroup_grouped_query_attention and self.n_key_value_heads is None:
            raise ConfigError("ungroup_grouped_query_attention needs n_key_value_heads")
        check_attn_in(self)

    def _check_rotary(self) -> None:
        asked = {
            "rotary_base_local": self.rotary_base_local is not None,
            "rotary_scaling_factor": self.rotary_scaling_factor != 1.0,
            "use_NTK_by_parts_rope": self.use_NTK_by_parts_rope,
            "use_qk_norm": self.use_qk_norm,
        }
        for name, is_asked in asked.items():
            if is_asked and self.positional_embedding_type != "rotary":
                raise ConfigError(f"{name} is built for rotary positions, not {self.positional_embedding_type!r}")
        if self.rotary_base_local is not None and not self.use_local_attn:
            raise ConfigError("rotary_base_local is the base of local blocks; set use_local_attn")
        if self.use_NTK_by_parts_rope:
            if asked["rotary_base_local"] or asked["rotary_scaling_factor"]:
                raise ConfigError("use_NTK_by_parts_rope excludes rotary_base_local and rotary_scaling_factor")
            if not 0 < self.NTK_by_parts_low_freq_factor < self.NTK_by_parts_high_freq_factor:
                raise ConfigError(
                    f"NTK_by_parts_low_freq_factor={self.NTK_by_parts_low_freq_factor} must be positive and below "
                    f"NTK_by_parts_high_freq_factor={self.NTK_by_parts_high_freq_factor}"
                )
            if self.NTK_by_parts_factor <= 0 or self.NTK_original_ctx_len < 1:
                raise ConfigError("NTK_by_parts_factor and NTK_original_ctx_len must be positive")

    def _set(self, name: str, value: object) -> None:
        # The one place where a frozen config is written: derived defaults, before anybody else sees it.
        object.__setattr__(self, name, value)


def _refuse_assignment(config: HookedTransformerConfig, name: str, value: object) -> None:
    remedy = f"call model.set_{name}({value!r})" if name in _SWITCHES else "make a changed copy: dataclasses.replace"
    raise FrozenInstanceError(f"a config cannot be changed in place; to set {name}, {remedy}")


def check_attn_in(config: HookedTransformerConfig) -> None:
    """Nothing, if the per-head attention input has a meaning here.

    Raises:
        ConfigError: `use_attn_in` with grouped keys and values, which several query heads would have to share, or
            together with `use_split_qkv_input`, which would leave the point out of the computation.
    """
    if config.use_attn_in and config.n_key_value_heads and not config.ungroup_grouped_query_attention:
        raise ConfigError("use_attn_in gives each query head its own input; ungroup the key-value heads first")
    if config.use_attn_in and config.use_split_qkv_input:
        raise ConfigError("use_attn_in and use_split_qkv_input exclude one another: only the split inputs are read")


def require_field_names(given: Iterable[str]) -> None:
    """Nothing, if configs of TransformerLens or ours have fields of these names.

    Raises:
        ConfigError: a name that is none, with the nearest that is one.
    """
    names = {field.name for field in fields(HookedTransformerConfig)}
    for name in given:
        if name not in names | _IGNORED | _NOT_SUPPORTED.keys():
            nearest = get_close_matches(name, names, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise ConfigError(f"{name!r} is not a field of HookedTransformerConfig.{hint}")


# The dataclass's own refusal does not say what to do instead.
HookedTransformerConfig.__setattr__ = _refuse_assignment  # type: ignore[method-assign, assignment]

_SWITCHES = {
    "use_attn_result", "use_split_qkv_input", "use_hook_mlp_in", "use_attn_in", "ungroup_grouped_query_attention",
}  # fmt: skip

# TransformerLens 3.9 computes these differently by their name alone.
_DIFFERENT_BLOCKS = {"OlmoeForCausalLM", "Olmo2ForCausalLM", "Olmo3ForCausalLM"}

# Fields of TransformerLens' configs that describe where a model came from, not what it computes.
_IGNORED = {
    "from_checkpoint", "checkpoint_index", "checkpoint_label_type", "checkpoint_value", "n_params",
    "trust_remote_code", "quantization_method", "decoder_start_token_id", "uses_rms_norm", "layer_norm_folding",
    "yarn_factor", "yarn_attention_factor", "yarn_beta_fast", "yarn_beta_slow",
    "yarn_original_max_position_embeddings", "yarn_truncate", "yarn_global_attn_only", "norm_topk_prob",
    "train_seq_length",
}  # fmt: skip

# TransformerLens' options that we do not build, each with the value that leaves it off.
_NOT_SUPPORTED: dict[str, object] = {
    "clip_qkv": None, "use_logn_attn": False, "use_dynamic_ntk_rope": False,
    "post_embedding_ln": False, "load_in_4bit": False,
    "num_experts": None, "experts_per_token": None, "relative_attention_max_distance": None,
    "relative_attention_num_buckets": None, "use_yarn_rope": False,
    "use_attention_sinks": False,
}  # fmt: skip
