"""The same model in plain PyTorch: pre-norm blocks around `nn.MultiheadAttention`, with no hook point anywhere.

What the benchmarks measure our model against, and what the tests compare it with, weight for weight.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from models import HookedTransformer, HookedTransformerConfig

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "gelu_new": lambda: nn.GELU(approximate="tanh"), "silu": nn.SiLU}


class PlainBlock(nn.Module):
    """x + attention(LN(x)), then x + mlp(LN(x)), the MLP left out where the config has none."""

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__()
        width, dtype = config.d_model, config.dtype
        self.ln1 = nn.LayerNorm(width, config.eps, dtype=dtype)
        self.attention = nn.MultiheadAttention(width, config.n_heads, batch_first=True, dtype=dtype)
        self.mlp = None
        if not config.attn_only:
            self.ln2 = nn.LayerNorm(width, config.eps, dtype=dtype)
            self.mlp = nn.Sequential(
                nn.Linear(width, config.d_mlp, dtype=dtype),
                _ACTIVATIONS[config.act_fn](),
                nn.Linear(config.d_mlp, width, dtype=dtype),
            )

    def forward(self, x: Float[Tensor, "batch pos d_model"], mask: Tensor) -> Float[Tensor, "batch pos d_model"]:
        read = self.ln1(x)
        x = x + self.attention(read, read, read, attn_mask=mask, need_weights=False, is_causal=True)[0]
        return x if self.mlp is None else x + self.mlp(self.ln2(x))


class PlainModel(nn.Module):
    """Tokens to logits: embeddings, blocks, final norm if there is one, unembedding (tied or free)."""

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__()
        width, dtype = config.d_model, config.dtype
        self.tokens = nn.Embedding(config.d_vocab, width, dtype=dtype)
        self.positions = nn.Embedding(config.n_ctx, width, dtype=dtype)
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.n_layers))
        self.ln_final = nn.LayerNorm(width, config.eps, dtype=dtype) if config.final_norm else nn.Identity()
        self.unembed = nn.Linear(width, config.d_vocab_out, dtype=dtype)
        if config.tie_word_embeddings:
            self.unembed.weight = self.tokens.weight
        blocked = torch.ones(config.n_ctx, config.n_ctx, dtype=torch.bool).triu(1)
        self.register_buffer("blocked", blocked, persistent=False)

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab_out"]:
        length = tokens.shape[1]
        x = self.tokens(tokens) + self.positions.weight[:length]
        for block in self.blocks:
            x = block(x, self.blocked[:length, :length])
        return self.unembed(self.ln_final(x))


@torch.no_grad()
def from_hooked(model: HookedTransformer) -> PlainModel:
    """The plain model that computes what this one computes: the weights are copied, not shared.

    Raises:
        ValueError: the model has an option that `nn.MultiheadAttention` blocks cannot express.
    """
    _check(model.cfg)
    plain = PlainModel(model.cfg).to(model.cfg.device)
    plain.tokens.weight.copy_(model.W_E)
    plain.positions.weight.copy_(model.W_pos)
    for block, source in zip(plain.blocks, model.blocks, strict=True):
        _copy_attention(block.attention, source.attn)
        _copy_affine(block.ln1, source.ln1.w, source.ln1.b)
        if block.mlp is not None:
            _copy_affine(block.ln2, source.ln2.w, source.ln2.b)
            _copy_affine(block.mlp[0], source.mlp.W_in.T, source.mlp.b_in)
            _copy_affine(block.mlp[2], source.mlp.W_out.T, source.mlp.b_out)
    if model.cfg.final_norm:
        _copy_affine(plain.ln_final, model.ln_final.w, model.ln_final.b)
    _copy_affine(plain.unembed, model.W_U.T, model.b_U)
    return plain.train(model.training)


def _copy_affine(module: nn.Module, weight: Tensor, bias: Tensor) -> None:
    module.weight.copy_(weight)
    module.bias.copy_(bias)


def _copy_attention(attention: nn.MultiheadAttention, source: nn.Module) -> None:
    # PyTorch keeps x @ W as x @ weight.T, all heads of Q, then of K, then of V, in the rows of one matrix.
    weights = [weight.permute(0, 2, 1).flatten(0, 1) for weight in (source.W_Q, source.W_K, source.W_V)]
    attention.in_proj_weight.copy_(torch.cat(weights))
    attention.in_proj_bias.copy_(torch.cat([bias.flatten() for bias in (source.b_Q, source.b_K, source.b_V)]))
    _copy_affine(attention.out_proj, source.W_O.flatten(0, 1).T, source.b_O)


def _check(config: HookedTransformerConfig) -> None:
    expressible = {
        "n_heads * d_head": (config.n_heads * config.d_head, config.d_model),
        "normalization_type": (config.normalization_type, "LN"),
        "norm_placement": (config.norm_placement, "pre"),
        "positional_embedding_type": (config.positional_embedding_type, "standard"),
        "attention_dir": (config.attention_dir, "causal"),
        "n_key_value_heads": (config.n_key_value_heads, None),
        "gated_mlp": (config.gated_mlp, False),
        "parallel_attn_mlp": (config.parallel_attn_mlp, False),
        "use_local_attn": (config.use_local_attn, False),
        "use_normalization_before_and_after": (config.use_normalization_before_and_after, False),
        "attn_scale": (config.use_attn_scale and config.attn_scale, config.d_head**0.5),
        "scale_attn_by_inverse_layer_idx": (config.scale_attn_by_inverse_layer_idx, False),
        "attn_scores_soft_cap": (config.attn_scores_soft_cap, -1.0),
        "output_logits_soft_cap": (config.output_logits_soft_cap, -1.0),
        "final_rms": (config.final_rms, False),
    }
    for name, (given, needed) in expressible.items():
        if given != needed:
            raise ValueError(f"a plain model needs {name} == {needed!r}, not {given!r}")
    if not config.attn_only and config.act_fn not in _ACTIVATIONS:
        raise ValueError(f"a plain model has no act_fn {config.act_fn!r}; choose one of {', '.join(_ACTIVATIONS)}")
