"""The configurations that are compared, as data: both environments import this file, so it imports neither package.

Together they cover every option that TransformerLens 3.9 has and this package builds. Sizes are drawn by name and
differ pairwise, so that a swapped pair of axes cannot pass unseen.
"""

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Configuration:
    """One model and one batch.

    Attributes:
        name: also the seed of its sizes, weights and tokens.
        fields: of the config, apart from the drawn sizes, which it may override.
        left_padding: padded positions at the start of each row, or nothing.
        gradients: whether the gradient at every hook point is recorded.
        processing: whether folding and centring are recorded.
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    left_padding: tuple[int, ...] = ()
    gradients: bool = False
    processing: bool = False

    @property
    def random(self) -> np.random.RandomState:
        """A fresh generator seeded by the name; `RandomState`, because its stream is frozen for all numpy versions."""
        return np.random.RandomState(zlib.crc32(self.name.encode()))

    @property
    def config(self) -> dict[str, Any]:
        """The fields of the config, with "float64" by name."""
        drawn = self._sizes
        shapes = {name: size for name, size in drawn.items() if name not in ("batch", "length", "kv_heads")}
        if self.fields.get("attn_only"):
            shapes.pop("d_mlp")
        fixed = {"act_fn": "gelu", "device": "cpu", "init_weights": False, "default_prepend_bos": False}
        return {**shapes, **fixed, **self.fields}

    @property
    def tokens(self) -> np.ndarray:
        """Token ids `[batch, pos]`."""
        sizes = {**self._sizes, **self.fields}
        return self.random.randint(sizes["d_vocab"], size=(sizes["batch"], sizes["length"]))

    @property
    def attention_mask(self) -> np.ndarray | None:
        """0 at padded positions, or None where there are none."""
        if not self.left_padding:
            return None
        mask = np.ones_like(self.tokens)
        for row, padded in enumerate(self.left_padding):
            mask[row, :padded] = 0
        return mask

    def weight(self, parameter: str, shape: tuple[int, ...]) -> np.ndarray:
        """The parameter's values: around one for norm weights, around zero for all others, spread of order one."""
        seed = zlib.crc32(f"{self.name}/{parameter}".encode())
        mean = 1.0 if parameter.endswith(".w") else 0.0
        return mean + 0.5 * np.random.RandomState(seed).standard_normal(shape)

    @property
    def _sizes(self) -> dict[str, int]:
        random = self.random
        even_heads = self.fields.get("positional_embedding_type") == "rotary"
        groups = self.fields.get("n_key_value_heads")
        while True:
            drawn = {
                "n_layers": 3 if groups else 2,
                "n_heads": groups * random.randint(2, 5) if groups else random.randint(3, 7),
                "d_head": 2 * random.randint(2, 5) if even_heads else random.randint(3, 7),
                "d_model": random.randint(8, 12),
                "d_mlp": random.randint(11, 15),
                "d_vocab": random.randint(13, 19),
                "n_ctx": random.randint(7, 11),
                "length": 5,
            }
            if len({*drawn.values(), groups}) == len(drawn) + 1:
                # Nothing has both a batch axis and a layer axis, so these two need not differ.
                return {name: int(size) for name, size in {**drawn, "batch": 2}.items()}


_SHORTFORMER = {"positional_embedding_type": "shortformer"}
_ROTARY = {"positional_embedding_type": "rotary"}
_LLAMA = {**_ROTARY, "normalization_type": "RMS", "gated_mlp": True, "act_fn": "silu"}
_LOCAL = {"use_local_attn": True, "window_size": 3, "attn_types": ["global", "local", "local"]}

CONFIGURATIONS = [
    Configuration("layer_norm", {"normalization_type": "LN"}, gradients=True, processing=True),
    Configuration("layer_norm_pre", {"normalization_type": "LNPre", "act_fn": "gelu_new"}),
    Configuration("rms_norm", {"normalization_type": "RMS", "act_fn": "relu"}, processing=True),
    Configuration("rms_norm_pre", {"normalization_type": "RMSPre", "act_fn": "silu"}),
    Configuration("no_norm", {"normalization_type": None, "act_fn": "relu", "n_layers": 2}),
    Configuration("large_eps", {"eps": 0.1, "act_fn": "gelu_fast"}),
    Configuration("attention_only", {"attn_only": True, "act_fn": None}, gradients=True, processing=True),
    Configuration("attention_only_no_norm", {"attn_only": True, "act_fn": None, "normalization_type": None}),
    Configuration("relu", {"act_fn": "relu"}),
    Configuration("gelu_new", {"act_fn": "gelu_new"}),
    Configuration("gelu_fast", {"act_fn": "gelu_fast"}),
    Configuration("gelu_pytorch_tanh", {"act_fn": "gelu_pytorch_tanh"}),
    Configuration("silu", {"act_fn": "silu"}),
    Configuration("solu", {"act_fn": "solu"}),
    Configuration("solu_ln", {"act_fn": "solu_ln"}, processing=True),
    Configuration("solu_ln_pre", {"act_fn": "solu_ln", "normalization_type": "LNPre"}),
    Configuration("gated", {"gated_mlp": True, "act_fn": "gelu"}, gradients=True),
    Configuration("parallel", {"parallel_attn_mlp": True}, gradients=True, processing=True),
    Configuration("parallel_rotary", {**_ROTARY, "parallel_attn_mlp": True, "use_hook_mlp_in": True}),
    Configuration("shortformer", {**_SHORTFORMER, "use_split_qkv_input": True, "act_fn": "relu"}, gradients=True),
    Configuration("shortformer_attention_only", {**_SHORTFORMER, "attn_only": True, "normalization_type": None}),
    Configuration("shortformer_padded", _SHORTFORMER, left_padding=(2, 0)),
    Configuration("rotary", _ROTARY, left_padding=()),
    Configuration("rotary_part", {**_ROTARY, "d_head": 8, "rotary_dim": 4}),
    Configuration("rotary_adjacent", {**_ROTARY, "rotary_adjacent_pairs": True, "d_head": 6}),
    Configuration(
        "rotary_adjacent_part_base",
        {**_ROTARY, "rotary_adjacent_pairs": True, "d_head": 8, "rotary_dim": 6, "rotary_base": 500},
    ),
    Configuration("rotary_padded", _ROTARY, left_padding=(0, 3)),
    Configuration("llama", {**_LLAMA, "n_key_value_heads": 2}, gradients=True, processing=True),
    Configuration("grouped", {"n_key_value_heads": 2, "act_fn": "relu"}, processing=True),
    Configuration("grouped_one", {"n_key_value_heads": 1}),
    Configuration("grouped_split", {"n_key_value_heads": 2, "use_split_qkv_input": True}),
    Configuration(
        "ungrouped",
        {**_ROTARY, "n_key_value_heads": 2, "ungroup_grouped_query_attention": True, "use_split_qkv_input": True},
    ),
    Configuration("local", _LOCAL),
    Configuration("local_padded", _LOCAL, left_padding=(2, 0)),
    Configuration("bidirectional", {"attention_dir": "bidirectional"}),
    Configuration("score_cap", {"attn_scores_soft_cap": 1.5}),
    Configuration("logit_cap", {"output_logits_soft_cap": 2.5}),
    Configuration("unscaled", {"use_attn_scale": False}),
    Configuration("own_scale", {"attn_scale": 3.7}),
    Configuration("scaled_by_layer", {"scale_attn_by_inverse_layer_idx": True}),
    Configuration("other_output_vocabulary", {"d_vocab_out": 4, "d_vocab": 23}),
    Configuration("final_rms", {"final_rms": True}),
    Configuration("final_rms_pre", {"final_rms": True, "normalization_type": "LNPre"}),
    Configuration("final_rms_of_rms_pre", {"final_rms": True, "normalization_type": "RMSPre"}),
    Configuration(
        "gemma_2",
        {
            **_LLAMA, **_LOCAL, "n_key_value_heads": 2, "act_fn": "gelu_pytorch_tanh", "attn_scores_soft_cap": 2.0,
            "output_logits_soft_cap": 3.0, "use_normalization_before_and_after": True, "attn_scale": 2.2,
        },
    ),
    Configuration(
        "norms_before_and_after",
        {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
        processing=True,
    ),
    Configuration("results", {"use_attn_result": True}, gradients=True),
    Configuration("split_inputs", {"use_split_qkv_input": True, "use_hook_mlp_in": True}, gradients=True),
    Configuration("attention_inputs", {"use_attn_in": True, "use_attn_result": True}),
    Configuration("hooked_tokens", {"use_hook_tokens": True, "use_hook_mlp_in": True}),
    Configuration("padded", left_padding=(3, 0), fields={"act_fn": "gelu_new"}),
    Configuration("one_of_everything", {"n_layers": 1, "n_heads": 1, "d_head": 1}),
    Configuration("one_head_wide", {"n_layers": 1, "n_heads": 1, "d_head": 16, "attn_only": True}),
]  # fmt: skip
