"""How many parameters a configuration asks for, part by part, without building the model."""

from typing import Any


def parameter_count(cfg: Any) -> dict[str, int]:
    """The number of parameters of each part of the model, biases and norms included; their sum is the model's.

    A shared unembedding counts once, with the embedding. For full attention with an MLP of 4 d_model neurons the blocks
    have about 12 n_layers d_model^2.
    """
    d_model, n_layers = cfg.d_model, cfg.n_layers
    return {
        "embedding": cfg.d_vocab * d_model,
        "positions": cfg.n_ctx * d_model if cfg.positional_embedding_type in ("standard", "shortformer") else 0,
        "attention": n_layers * _attention(cfg),
        "mlp": 0 if cfg.attn_only else n_layers * _mlp(cfg),
        "norms": n_layers * _norms_of_a_block(cfg) + _final_norm(cfg),
        "unembedding": 0 if cfg.tie_word_embeddings else d_model * cfg.d_vocab_out,
        "unembedding_bias": cfg.d_vocab_out,
    }


def _attention(cfg: Any) -> int:
    groups = cfg.n_key_value_heads or cfg.n_heads
    reading = cfg.d_head * (cfg.n_heads + 2 * groups)
    biases = reading if cfg.qkv_bias else 0
    return cfg.d_model * reading + biases + cfg.n_heads * cfg.d_head * cfg.d_model + cfg.d_model


def _mlp(cfg: Any) -> int:
    matrices = cfg.d_model * cfg.d_mlp * (3 if cfg.gated_mlp else 2)
    # SoLU's norm between activation and output has weights only beside norms that have them.
    inner_norm = 2 * cfg.d_mlp if cfg.act_fn == "solu_ln" and cfg.normalization_type == "LN" else 0
    return matrices + cfg.d_mlp + cfg.d_model + inner_norm


def _norm(kind: str | None, length: int) -> int:
    return {"LN": 2 * length, "RMS": length, "ScaleNorm": 1}.get(kind or "", 0)


def _norms_of_a_block(cfg: Any) -> int:
    n_branches = 1 if cfg.attn_only else 2
    size = _norm(cfg.normalization_type, cfg.d_model)
    if cfg.use_normalization_before_and_after:
        size += _norm("RMS" if cfg.normalization_type.startswith("RMS") else "LN", cfg.d_model)
    of_queries_and_keys = 2 * _norm("RMS", cfg.d_head) if getattr(cfg, "use_qk_norm", False) else 0
    return n_branches * size + of_queries_and_keys


def _final_norm(cfg: Any) -> int:
    if not cfg.final_norm:
        return 0
    kind = "RMS" if cfg.final_rms and cfg.normalization_type == "LN" else cfg.normalization_type
    return _norm(kind, cfg.d_model)
