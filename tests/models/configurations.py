"""Configurations drawn over every option of the model, for tests of what holds whatever the configuration is."""

from hypothesis import strategies as st

OPTIONS: dict[str, st.SearchStrategy] = {
    "normalization_type": st.sampled_from(["LN", "LN", "LNPre", "RMS", "RMSPre", "ScaleNorm", None]),
    "final_rms": st.sampled_from([False, False, True]),
    "norm_placement": st.sampled_from(["pre", "pre", "pre", "post"]),
    "use_normalization_before_and_after": st.sampled_from([False, False, True]),
    "parallel_attn_mlp": st.sampled_from([False, False, True]),
    "attn_only": st.sampled_from([False, False, True]),
    "gated_mlp": st.booleans(),
    "act_fn": st.sampled_from(["gelu", "relu", "silu", "solu_ln"]),
    "positional_embedding_type": st.sampled_from(["standard", "rotary", "shortformer", "none"]),
    "n_key_value_heads": st.sampled_from([None, None, 2]),
    "qkv_bias": st.booleans(),
    "tie_word_embeddings": st.booleans(),
    "d_vocab_out": st.sampled_from([17, 17, 5]),
    "attention_dir": st.sampled_from(["causal", "causal", "bidirectional"]),
    "attn_scores_soft_cap": st.sampled_from([-1.0, 3.0]),
    "output_logits_soft_cap": st.sampled_from([-1.0, -1.0, 5.0]),
    "use_attn_scale": st.booleans(),
    "d_head": st.sampled_from([6, 14]),
}
LOCAL = {"use_local_attn": True, "window_size": 3, "attn_types": ("global", "local")}
ANGLES: list[dict[str, object]] = [
    {},
    {},
    {"rotary_scaling_factor": 2.5},
    {"use_NTK_by_parts_rope": True, "NTK_original_ctx_len": 400, "NTK_by_parts_factor": 3.0},
]
"""At d_head 6 and base 10,000 the pairs turn 64, 3 and 0.1 times in 400 positions: one of each kind."""


@st.composite
def configurations(draw: st.DrawFn, **fixed: object) -> dict[str, object]:
    """Changes to `small_config` that name a model; `fixed` ones are as given.

    The config is not built here: beartype draws random numbers, which hypothesis forbids in strategies.
    """
    changes = {name: draw(option) for name, option in OPTIONS.items()} | draw(st.sampled_from([{}, LOCAL])) | fixed
    if changes["normalization_type"] is None:
        changes["norm_placement"] = "pre"
    elif changes["norm_placement"] == "pre" and "final_norm" not in changes:
        changes["final_norm"] = draw(st.sampled_from([True, True, True, False]))
    if changes["attn_only"] or changes["norm_placement"] == "post":
        changes["parallel_attn_mlp"] = False
    if changes["norm_placement"] == "post" or changes["normalization_type"] is None:
        changes["use_normalization_before_and_after"] = False
    if changes["act_fn"] == "solu_ln" or changes["attn_only"]:
        changes["gated_mlp"] = False
    if changes["positional_embedding_type"] == "rotary":
        changes |= draw(st.sampled_from(ANGLES)) | {"use_qk_norm": fixed.get("use_qk_norm", draw(st.booleans()))}
        if changes.get("use_local_attn") and "use_NTK_by_parts_rope" not in changes:
            changes["rotary_base_local"] = draw(st.sampled_from([None, 50.0]))
    if changes["d_vocab_out"] != 17:
        changes["tie_word_embeddings"] = False
    return changes
