"""Attention. Weights act on the right, `x @ W`; a head's matrices are W_Q, W_K, W_V [head d_model d_head] and
W_O [head d_head d_model]."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformer_lens import FactoredMatrix
from transformer_lens.cache.key_value_cache_entry import TransformerLensKeyValueCacheEntry

from .activations import soft_capped
from .affine import affine
from .config import HookedTransformerConfig
from .hook_point import HookPoint, as_high_precision
from .masks import AttentionContext, visibility
from .norms import make_head_norm
from .positions import Rotary


class Attention(nn.Module):
    """Multi-head attention: softmax(Q K^T / scale) V W_O + b_O, with a hook point at every step.

    Scores and pattern are materialised only if somebody looks at them; else PyTorch's fused kernel gives the same
    output. Source: Vaswani et al. (2017), section 3.2; the hooks are TransformerLens'.
    """

    W_K: Tensor
    W_V: Tensor
    b_Q: Tensor
    b_K: Tensor
    b_V: Tensor

    def __init__(self, config: HookedTransformerConfig, layer: int) -> None:
        super().__init__()
        self.visible = visibility(config, layer)
        self.attn_scale = config.attn_scale if config.use_attn_scale else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.attn_scale *= layer + 1
        self.soft_cap = config.attn_scores_soft_cap
        self.W_Q = _projection(config, config.n_heads)
        self.W_O = nn.Parameter(torch.empty(config.n_heads, config.d_head, config.d_model, dtype=config.dtype))
        self.b_O = nn.Parameter(torch.zeros(config.d_model, dtype=config.dtype))
        self._add_bias(config, "b_Q", config.n_heads)
        self._add_key_values(config)
        self.hook_q = HookPoint("batch pos head d_head")
        self.hook_k = HookPoint("batch pos kv_head d_head")
        self.hook_v = HookPoint("batch pos kv_head d_head")
        self.hook_z = HookPoint("batch pos head d_head")
        self.hook_attn_scores = HookPoint("batch head query key")
        self.hook_pattern = HookPoint("batch head query key")
        self.hook_result = HookPoint("batch pos head d_model", switch="use_attn_result")
        self.rotary = Rotary(config, layer) if config.positional_embedding_type == "rotary" else None
        if self.rotary is not None:
            self.hook_rot_q = HookPoint("batch pos head d_head")
            self.hook_rot_k = HookPoint("batch pos kv_head d_head")
        self.q_norm = make_head_norm(config, "head") if config.use_qk_norm else None
        self.k_norm = make_head_norm(config, "kv_head") if config.use_qk_norm else None

    def _add_key_values(self, config: HookedTransformerConfig) -> None:
        self.W_K = _projection(config, config.n_heads)
        self.W_V = _projection(config, config.n_heads)
        self._add_bias(config, "b_K", config.n_heads)
        self._add_bias(config, "b_V", config.n_heads)

    def _add_bias(self, config: HookedTransformerConfig, name: str, n_heads: int) -> None:
        zeros = torch.zeros(n_heads, config.d_head, dtype=config.dtype)
        if config.qkv_bias:
            setattr(self, name, nn.Parameter(zeros))
        else:
            # A constant zero, so that `attn.b_Q` can still be read; neither trained nor saved.
            self.register_buffer(name, zeros, persistent=False)

    @property
    def QK(self) -> FactoredMatrix:
        """The query-key circuit of each head, W_Q W_K^T. Source: Elhage et al. (2021)."""
        return FactoredMatrix(self.W_Q, self.W_K.transpose(-2, -1))

    @property
    def OV(self) -> FactoredMatrix:
        """The output-value circuit of each head, W_V W_O. Source: Elhage et al. (2021)."""
        return FactoredMatrix(self.W_V, self.W_O)

    def forward(
        self,
        query_input: Float[Tensor, "batch pos *head d_model"],
        key_input: Float[Tensor, "batch pos *kv_head d_model"],
        value_input: Float[Tensor, "batch pos *kv_head d_model"],
        context: AttentionContext | None = None,
        past: TransformerLensKeyValueCacheEntry | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """What the layer writes into the stream. The inputs may have a head axis (split inputs).

        Args:
            context: default: positions from 0 (with `past`: from its end), and nothing is padding.
        """
        if context is None:
            n_past = 0 if past is None else past.past_keys.shape[1]
            context = AttentionContext(query_input.shape[1], n_past, device=query_input.device)
        q, k, v = self.queries(query_input), self.keys(key_input), self.values(value_input)
        if past is not None:
            k, v = past.append(k, v)
        ids = context.position_ids()
        q, k = self.turned_queries(q, ids[:, context.n_past :]), self.turned_keys(k, ids)
        return self.output(
            self.hook_z(self.weighted_values(q, self.per_query_head(k), self.per_query_head(v), context))
        )

    def queries(self, x: Float[Tensor, "batch pos *head d_model"]) -> Float[Tensor, "batch pos head d_head"]:
        """Each head's queries, not yet normed and turned by their position."""
        return self.hook_q(_projected(x, self.W_Q, self.b_Q))

    def keys(self, x: Float[Tensor, "batch pos *kv_head d_model"]) -> Float[Tensor, "batch pos kv_head d_head"]:
        """Each head's keys, not yet normed and turned by their position."""
        return self.hook_k(_projected(x, *self.key_weights()))

    def values(self, x: Float[Tensor, "batch pos *kv_head d_model"]) -> Float[Tensor, "batch pos kv_head d_head"]:
        """Each head's values."""
        return self.hook_v(_projected(x, *self.value_weights()))

    def turned_queries(
        self, q: Float[Tensor, "batch pos head d_head"], position_ids: Int[Tensor, "#batch position"]
    ) -> Float[Tensor, "batch pos head d_head"]:
        """The queries normed, where they are, and turned by their positions, where these are a rotation."""
        if self.rotary is None:
            return q
        return self.hook_rot_q(self.rotary(q if self.q_norm is None else self.q_norm(q), position_ids))

    def turned_keys(
        self, k: Float[Tensor, "batch pos kv_head d_head"], position_ids: Int[Tensor, "#batch position"]
    ) -> Float[Tensor, "batch pos kv_head d_head"]:
        """The keys normed, where they are, and turned by their positions, where these are a rotation."""
        if self.rotary is None:
            return k
        return self.hook_rot_k(self.rotary(k if self.k_norm is None else self.k_norm(k), position_ids))

    def key_weights(self) -> tuple[Tensor, Tensor]:
        """The matrices and biases that make keys."""
        return self.W_K, self.b_K

    def value_weights(self) -> tuple[Tensor, Tensor]:
        """The matrices and biases that make values."""
        return self.W_V, self.b_V

    def per_query_head(self, x: Float[Tensor, "batch pos kv_head d_head"]) -> Float[Tensor, "batch pos head d_head"]:
        """Keys or values, one for each query head."""
        return x

    def weighted_values(
        self,
        q: Float[Tensor, "batch query head d_head"],
        k: Float[Tensor, "batch key head d_head"],
        v: Float[Tensor, "batch key head d_head"],
        context: AttentionContext,
    ) -> Float[Tensor, "batch query head d_head"]:
        """Each head's mean of the values, weighted by its pattern."""
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if self.soft_cap > 0 or self.hook_attn_scores.observed or self.hook_pattern.observed:
            z = self.pattern(q, k, context).to(v.dtype) @ v
        elif context.is_plainly_causal(self.visible):
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1 / self.attn_scale)
        else:
            mask = context.mask(self.visible)
            z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1 / self.attn_scale)
        return z.transpose(1, 2)

    def pattern(
        self,
        q: Float[Tensor, "batch head query d_head"],
        k: Float[Tensor, "batch head key d_head"],
        context: AttentionContext,
    ) -> Float[Tensor, "batch head query key"]:
        """The attention pattern: rows sum to one, or are zero where a query may look at nothing."""
        return self.softmax(self.scores(q, k, context), context)

    def scores(
        self,
        q: Float[Tensor, "batch head query d_head"],
        k: Float[Tensor, "batch head key d_head"],
        context: AttentionContext,
    ) -> Float[Tensor, "batch head query key"]:
        """Queries times keys over the scale, capped; -inf where a query may not look."""
        scores = soft_capped(q @ k.transpose(-2, -1) / self.attn_scale, self.soft_cap)
        mask = context.mask(self.visible)
        return self.hook_attn_scores(scores if mask is None else scores.masked_fill(~mask, -torch.inf))

    def softmax(
        self, scores: Float[Tensor, "batch head query key"], context: AttentionContext, edited: bool = False
    ) -> Float[Tensor, "batch head query key"]:
        """The pattern that scores give; `edited` ones may hold rows of nothing but -inf where no mask does."""
        pattern = as_high_precision(scores).softmax(dim=-1).to(scores.dtype)
        if edited or context.padding is not None or self.hook_attn_scores.hooked:
            # Softmax of nothing but -inf is NaN; a query that may look nowhere looks nowhere.
            pattern = pattern.masked_fill((scores == -torch.inf).all(dim=-1, keepdim=True), 0.0)
        return self.hook_pattern(pattern)

    def output(self, z: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "batch pos d_model"]:
        """The heads' results summed, plus b_O; each is computed by itself only where `hook_result` is on."""
        if self.hook_result.enabled:
            return self.hook_result(torch.einsum("bphe,hed->bphd", z, self.W_O)).sum(dim=2) + self.b_O
        return affine(z.flatten(2), self.W_O.flatten(0, 1), self.b_O)


class GroupedQueryAttention(Attention):
    """Attention in which several query heads share one head of keys and values.

    `W_K` and the like are expanded to one matrix a query head; the parameters are `_W_K` ..., as in
    TransformerLens. Source: Ainslie et al. (2023).
    """

    _b_K: Tensor
    _b_V: Tensor

    def __init__(self, config: HookedTransformerConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.ungrouped = config.ungroup_grouped_query_attention

    def _add_key_values(self, config: HookedTransformerConfig) -> None:
        self.repeats = config.n_heads // config.n_kv_heads
        self._W_K = _projection(config, config.n_kv_heads)
        self._W_V = _projection(config, config.n_kv_heads)
        self._add_bias(config, "_b_K", config.n_kv_heads)
        self._add_bias(config, "_b_V", config.n_kv_heads)

    @property
    def W_K(self) -> Float[Tensor, "head d_model d_head"]:
        """The key matrix of each query head."""
        return self._W_K.repeat_interleave(self.repeats, dim=0)

    @property
    def W_V(self) -> Float[Tensor, "head d_model d_head"]:
        """The value matrix of each query head."""
        return self._W_V.repeat_interleave(self.repeats, dim=0)

    @property
    def b_K(self) -> Float[Tensor, "head d_head"]:
        """The key bias of each query head."""
        return self._b_K.repeat_interleave(self.repeats, dim=0)

    @property
    def b_V(self) -> Float[Tensor, "head d_head"]:
        """The value bias of each query head."""
        return self._b_V.repeat_interleave(self.repeats, dim=0)

    def key_weights(self) -> tuple[Tensor, Tensor]:
        """The matrices and biases that make keys: one a group, or one a query head where ungrouped."""
        return (self.W_K, self.b_K) if self.ungrouped else (self._W_K, self._b_K)

    def value_weights(self) -> tuple[Tensor, Tensor]:
        """The matrices and biases that make values: one a group, or one a query head where ungrouped."""
        return (self.W_V, self.b_V) if self.ungrouped else (self._W_V, self._b_V)

    def per_query_head(self, x: Float[Tensor, "batch pos kv_head d_head"]) -> Float[Tensor, "batch pos head d_head"]:
        """Keys or values, repeated for each query head of the group."""
        return x if self.ungrouped else x.repeat_interleave(self.repeats, dim=2)


def _projection(config: HookedTransformerConfig, n_heads: int) -> nn.Parameter:
    # Laid out with d_model outermost, so that the [d_model, head * d_head] matrix of the one large product is a
    # view of the parameter and not a copy made at every call.
    storage = torch.empty(config.d_model, n_heads, config.d_head, dtype=config.dtype)
    return nn.Parameter(storage.permute(1, 0, 2))


def _projected(
    x: Float[Tensor, "batch pos *head d_model"],
    weight: Float[Tensor, "head d_model d_head"],
    bias: Float[Tensor, "head d_head"],
) -> Float[Tensor, "batch pos head d_head"]:
    if x.ndim == 4:
        return torch.einsum("bphd,hde->bphe", x, weight) + bias
    flat = weight.permute(1, 0, 2).flatten(1)
    return affine(x, flat, bias.flatten()).unflatten(-1, bias.shape)


def make_attention(config: HookedTransformerConfig, layer: int) -> Attention:
    """The attention that the config names."""
    return Attention(config, layer) if config.n_key_value_heads is None else GroupedQueryAttention(config, layer)
