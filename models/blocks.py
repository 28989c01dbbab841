"""The blocks: attention and feed-forward around one residual stream, in the three orders in use."""

from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.cache.key_value_cache_entry import TransformerLensKeyValueCacheEntry

from .attention import make_attention
from .config import HookedTransformerConfig, Normalization
from .errors import InputError
from .hook_point import HookPoint
from .masks import AttentionContext
from .mlps import make_mlp
from .norms import make_norm


class PreNormBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). Source: Radford et al. (2019), section 2.3."""

    # TransformerLens' logit lens asks each block whether what it returns is the stream itself.
    hook_out_is_single_residual_stream = True

    mlp_reads = "resid_mid"
    """Which stream the MLP reads: "resid_mid" or "resid_pre"; "" where there is none."""

    def __init__(self, config: HookedTransformerConfig, layer: int) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.reads_positions = config.positional_embedding_type == "shortformer"
        self.ln1 = make_norm(config)
        self.attn = make_attention(config, layer)
        around = config.use_normalization_before_and_after and config.normalization_type is not None
        self.around = around
        # Norms of what is written (Gemma 2) keep their weights even where the reading norms are folded.
        after: Normalization = "RMS" if (config.normalization_type or "").startswith("RMS") else "LN"
        if around:
            self.ln1_post = make_norm(config, kind=after)
        if not config.attn_only:
            self.ln2 = make_norm(config)
            self.mlp = make_mlp(config)
            self.hook_mlp_in = HookPoint(switch="use_hook_mlp_in")
            self.hook_mlp_out = HookPoint()
            if around:
                self.ln2_post = make_norm(config, kind=after)
        self.hook_attn_in = HookPoint("batch pos head d_model", switch="use_attn_in")
        self.hook_q_input = HookPoint("batch pos head d_model", switch="use_split_qkv_input")
        self.hook_k_input = HookPoint("batch pos kv_head d_model", switch="use_split_qkv_input")
        self.hook_v_input = HookPoint("batch pos kv_head d_model", switch="use_split_qkv_input")
        self.hook_attn_out = HookPoint()
        self.hook_resid_pre = HookPoint()
        if not config.attn_only and not config.parallel_attn_mlp:
            self.hook_resid_mid = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(
        self,
        resid_pre: Float[Tensor, "batch pos d_model"],
        context: AttentionContext | None = None,
        past: TransformerLensKeyValueCacheEntry | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream after this block.

        Args:
            context: default: positions from 0 (with `past`: from its end), and nothing is padding;
                `model.context_of(tokens)` gives that of a run.

        Raises:
            InputError: no context, where queries and keys read positions that are no part of the stream.
        """
        resid_pre = self.hook_resid_pre(resid_pre)
        resid_mid = self.after_attention(resid_pre, self.attn_out(resid_pre, context, past))
        return self.after_mlp(resid_mid, self.mlp_out(resid_mid))

    def after_attention(
        self, resid_pre: Float[Tensor, "batch pos d_model"], attn_out: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream with what attention wrote."""
        return self.hook_resid_mid(resid_pre + attn_out)

    def after_mlp(
        self, resid_mid: Float[Tensor, "batch pos d_model"], mlp_out: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream with what the MLP wrote."""
        return self.hook_resid_post(resid_mid + mlp_out)

    def attn_out(
        self,
        resid: Float[Tensor, "batch pos d_model"],
        context: AttentionContext | None = None,
        past: TransformerLensKeyValueCacheEntry | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """What attention writes, given the stream it reads."""
        query, key, value = self.attention_inputs(resid)
        if self.reads_positions:
            added = _positions_in(context)
            query, key = _plus(query, added), _plus(key, added)
        return self.attention_write(self.attn(query, key, value, context, past))

    def attention_write(self, out: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What goes into the stream of what attention gave: all of it, or its norm."""
        return self.hook_attn_out(self.ln1_post(out) if self.around else out)

    def attention_inputs(self, resid: Float[Tensor, "batch pos d_model"]) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised inputs of queries, keys and values: one stream, or a copy for each head where split.

        Shortformer positions are not among them yet.
        """
        if self.hook_q_input.enabled:
            n_kv_heads = self.attn.key_weights()[0].shape[0]
            query = self.hook_q_input(_for_each_head(resid, self.n_heads))
            key = self.hook_k_input(_for_each_head(resid, n_kv_heads))
            value = self.hook_v_input(_for_each_head(resid, n_kv_heads))
            return self.read(self.ln1, query), self.read(self.ln1, key), self.read(self.ln1, value)
        if self.hook_attn_in.enabled:
            resid = self.hook_attn_in(_for_each_head(resid, self.n_heads))
        shared = self.read(self.ln1, resid)
        return shared, shared, shared

    def mlp_out(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What the MLP writes, given the stream it reads."""
        return self.mlp_write(self.mlp(self.mlp_input(resid)))

    def mlp_input(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """The normalised input of the MLP."""
        if self.hook_mlp_in.enabled:
            resid = self.hook_mlp_in(resid.clone())
        return self.read(self.ln2, resid)

    def mlp_write(self, out: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What goes into the stream of what the MLP gave: all of it, or its norm."""
        return self.hook_mlp_out(self.ln2_post(out) if self.around else out)

    def read(self, norm: nn.Module, resid: Float[Tensor, "batch pos *head d_model"]) -> Tensor:
        """The stream as a layer sees it."""
        return norm(resid)


class AttentionOnlyBlock(PreNormBlock):
    """x + attention(norm(x))."""

    mlp_reads = ""

    def forward(
        self,
        resid_pre: Float[Tensor, "batch pos d_model"],
        context: AttentionContext | None = None,
        past: TransformerLensKeyValueCacheEntry | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream after this block."""
        resid_pre = self.hook_resid_pre(resid_pre)
        return self.hook_resid_post(self.after_attention(resid_pre, self.attn_out(resid_pre, context, past)))

    def after_attention(
        self, resid_pre: Float[Tensor, "batch pos d_model"], attn_out: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream with what attention wrote."""
        return resid_pre + attn_out


class ParallelBlock(PreNormBlock):
    """x + attention(norm(x)) + mlp(norm(x)), both reading the same stream. Source: Wang and Komatsuzaki (2021)."""

    mlp_reads = "resid_pre"

    def forward(
        self,
        resid_pre: Float[Tensor, "batch pos d_model"],
        context: AttentionContext | None = None,
        past: TransformerLensKeyValueCacheEntry | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream after this block."""
        resid_pre = self.hook_resid_pre(resid_pre)
        attended = self.after_attention(resid_pre, self.attn_out(resid_pre, context, past))
        return self.after_mlp(attended, self.mlp_out(resid_pre))

    def after_attention(
        self, resid_pre: Float[Tensor, "batch pos d_model"], attn_out: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream with what attention wrote, which the MLP does not read."""
        return resid_pre + attn_out


class PostNormBlock(PreNormBlock):
    """norm(scale * x + attention(x)), then norm(scale * x + mlp(x)): the norm stands in the stream itself.

    `residual_scale` is 1 in the original and larger in DeepNorm. Sources: Vaswani et al. (2017), section 3.1; Wang
    et al. (2022), "DeepNet".
    """

    def __init__(self, config: HookedTransformerConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.residual_scale = config.residual_scale
        self.attn_only = config.attn_only
        if self.attn_only:
            self.mlp_reads = ""

    def forward(
        self,
        resid_pre: Float[Tensor, "batch pos d_model"],
        context: AttentionContext | None = None,
        past: TransformerLensKeyValueCacheEntry | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream after this block, which is normalised."""
        resid_pre = self.hook_resid_pre(resid_pre)
        resid_mid = self.after_attention(resid_pre, self.attn_out(resid_pre, context, past))
        return self.hook_resid_post(resid_mid) if self.attn_only else self.after_mlp(resid_mid, self.mlp_out(resid_mid))

    def after_attention(
        self, resid_pre: Float[Tensor, "batch pos d_model"], attn_out: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream with what attention wrote, normalised."""
        resid_mid = self.ln1(self.residual_scale * resid_pre + attn_out)
        return resid_mid if self.attn_only else self.hook_resid_mid(resid_mid)

    def after_mlp(
        self, resid_mid: Float[Tensor, "batch pos d_model"], mlp_out: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        """The stream with what the MLP wrote, normalised."""
        return self.hook_resid_post(self.ln2(self.residual_scale * resid_mid + mlp_out))

    def read(self, norm: nn.Module, resid: Float[Tensor, "batch pos *head d_model"]) -> Tensor:
        """The stream as it is: it was normalised when it was written."""
        return resid


def make_block(config: HookedTransformerConfig, layer: int) -> PreNormBlock:
    """The block that the config names."""
    if config.norm_placement == "post":
        return PostNormBlock(config, layer)
    if config.parallel_attn_mlp:
        return ParallelBlock(config, layer)
    return AttentionOnlyBlock(config, layer) if config.attn_only else PreNormBlock(config, layer)


def _for_each_head(resid: Float[Tensor, "batch pos d_model"], n_heads: int) -> Float[Tensor, "batch pos head d_model"]:
    # A copy for each head, not an expanded view: a hook may write into one head's input in place.
    return resid[:, :, None].expand(-1, -1, n_heads, -1).clone()


def _positions_in(context: AttentionContext | None) -> Float[Tensor, "batch pos d_model"]:
    if context is None or context.added is None:
        raise InputError(
            "queries and keys read positions that are no part of the stream; call the block with "
            "context=model.context_of(tokens)"
        )
    return context.added


def _plus(
    x: Float[Tensor, "batch pos *head d_model"], positions: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, "batch pos *head d_model"]:
    return x + (positions if x.ndim == 3 else positions[:, :, None])
