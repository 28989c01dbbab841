"""HookedTransformer: the decoder with a hook point at every step, under TransformerLens' contract."""

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens import TransformerLensKeyValueCache

from .activations import soft_capped
from .attention import GroupedQueryAttention
from .blocks import make_block
from .config import HookedTransformerConfig
from .embedding import Embed, TiedUnembed, Unembed
from .errors import ConfigError, InputError, PointOffError
from .generate import Generation
from .hook_point import HookPoint
from .initialisation import initialise_as_configured
from .loss import next_token_loss
from .masks import AttentionContext
from .norms import make_final_norm
from .positions import PosEmbed
from .present_device import require_present
from .pretrained import Pretrained
from .stacked import StackedWeights

ReturnType = Literal["logits", "loss", "both"] | None


class Output(NamedTuple):
    """What `return_type="both"` returns."""

    logits: Float[Tensor, "batch pos d_vocab_out"]
    loss: Float[Tensor, "*batch_pos"]


class HookedTransformer(StackedWeights, Pretrained, Generation):
    """A transformer that can be read and edited at every step.

    It keeps the contract of TransformerLens 3.9's class of this name: parameters, hook names and shapes, methods.
    `docs/decisions/0001-contract.md` says where it is stricter.
    """

    def __init__(
        self,
        cfg: HookedTransformerConfig | dict[str, Any],
        tokenizer: Any = None,
        default_padding_side: Literal["left", "right"] | None = None,
    ) -> None:
        """A model with fresh random weights, as `cfg.init_mode` and `cfg.seed` say.

        With `cfg.init_weights=False` the matrices are NaN until weights are loaded, so that a forgotten load shows.

        Raises:
            ConfigError: the config names no model, a device that is not there, or no vocabulary and there is no
                tokenizer to take it from.
        """
        super().__init__()
        self.cfg = HookedTransformerConfig.from_dict(cfg) if isinstance(cfg, dict) else cfg
        self.tokenizer = None
        if tokenizer is not None:
            self.set_tokenizer(tokenizer, default_padding_side)
        if self.cfg.d_vocab < 1:
            raise ConfigError("d_vocab is not given, and there is no tokenizer to take it from")
        require_present(str(self.cfg.device))
        self._build()
        if self.cfg.init_weights:
            self.init_weights()
        else:
            for parameter in self.parameters():
                parameter.data.fill_(torch.nan)
        self.to(self.cfg.device)

    def _build(self) -> None:
        config = self.cfg
        self.embed = Embed(config)
        self.hook_embed = HookPoint()
        if config.positional_embedding_type in ("standard", "shortformer"):
            self.pos_embed = PosEmbed(config)
            self.hook_pos_embed = HookPoint()
        if config.use_hook_tokens:
            self.hook_tokens = HookPoint("batch pos")
        # A ModuleList is a sequence of its modules, which PyTorch does not tell the type checker.
        self.blocks = nn.ModuleList(make_block(config, layer) for layer in range(config.n_layers))  # type: ignore[assignment]
        self.ln_final = make_final_norm(config)
        self.unembed = TiedUnembed(config, self.embed) if config.tie_word_embeddings else Unembed(config)
        self.setup()

    def init_weights(self) -> None:
        """Fresh random weights in place, as the config's `init_mode`, `initializer_range` and `seed` say."""
        initialise_as_configured(self, self.cfg)

    def forward(
        self,
        input: str | list[str] | Tensor,
        return_type: ReturnType = "logits",
        loss_per_token: bool = False,
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] | None = None,
        start_at_layer: int | None = None,
        tokens: Int[Tensor, "batch pos"] | None = None,
        attention_mask: Tensor | None = None,
        stop_at_layer: int | None = None,
        past_kv_cache: TransformerLensKeyValueCache | None = None,
    ) -> Tensor | Output | None:
        """Logits, or the mean next-token loss in nats, or both, or the stream where the run stops early.

        Args:
            input: text, tokens `[batch, pos]`, or with `start_at_layer` the stream before that layer.
            start_at_layer: run from this block on; earlier ones are not computed. Negative counts from the end.
            stop_at_layer: return the stream before this block; later ones are not computed.
            tokens: the targets of the loss, needed only with `start_at_layer`.
            attention_mask: 0 at padding. Text and left-padded tokens are masked without it.
            past_kv_cache: keys and values of earlier positions; extended in place unless frozen.

        Raises:
            InputError: tokens, lengths, layers or masks that do not fit the model.
        """
        if return_type not in ("logits", "loss", "both", None):
            raise InputError(f"return_type must be 'logits', 'loss', 'both' or None, not {return_type!r}")
        if stop_at_layer is not None and return_type in ("loss", "both"):
            raise InputError(f"a run that stops at layer {stop_at_layer} returns the stream: it has no loss")
        layers = self._layers(start_at_layer, stop_at_layer)
        if start_at_layer is None:
            if tokens is not None:
                raise InputError("tokens are the targets of a run with start_at_layer; here the input's are taken")
            tokens, attention_mask = self._tokens_and_mask(input, prepend_bos, padding_side, attention_mask)
            context = self._context(tokens.shape, attention_mask, past_kv_cache)
            residual = self._embedded(tokens, context)
        else:
            residual = self._checked_residual(input)
            tokens = None if tokens is None else self._checked_tokens(tokens)
            context = self._context(residual.shape[:2], attention_mask, past_kv_cache)
            self._add_read_positions(context, len(residual))
        for layer in layers:
            residual = self.blocks[layer](residual, context, past_kv_cache and past_kv_cache[layer])
        if stop_at_layer is not None:
            return residual
        if return_type is None:
            self.ln_final(residual)
            return None
        logits = self.logits_of(residual)
        if return_type == "logits":
            return logits
        if tokens is None:
            raise InputError(f"return_type={return_type!r} with start_at_layer needs the tokens as targets")
        loss = self.loss_fn(logits, tokens, attention_mask, per_token=loss_per_token)
        return loss if return_type == "loss" else Output(logits, loss)

    def logits_of(self, residual: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_vocab_out"]:
        """The logits of the stream behind the last block: the final norm, the unembedding, the soft cap."""
        return soft_capped(self.unembed(self.ln_final(residual)), self.cfg.output_logits_soft_cap)

    def some_logits_of(
        self, residual: Float[Tensor, "row d_model"], tokens: Int[Tensor, "row column"]
    ) -> Float[Tensor, "row column"]:
        """The same of each row's own tokens alone, without computing the others. The unembedding's hooks do not fire.

        Args:
            residual: rows of the stream behind the last block, of any prompts and positions.
        """
        return soft_capped(self.unembed.some(self.ln_final(residual[None])[0], tokens), self.cfg.output_logits_soft_cap)

    def context_of(self, tokens: Int[Tensor, "batch pos"]) -> AttentionContext:
        """What attention knows about a run on these tokens: their positions, and which of them are padding."""
        tokens, mask = self._tokens_and_mask(tokens, None, None, None)
        context = self._context(tokens.shape, mask, None)
        self._add_read_positions(context, len(tokens))
        return context

    def loss_fn(
        self,
        logits: Float[Tensor, "batch pos d_vocab_out"],
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Tensor | None = None,
        per_token: bool = False,
    ) -> Float[Tensor, "*batch_pos"]:
        """The next-token cross-entropy in nats: its mean, or one number for each predicted token."""
        return next_token_loss(logits, tokens, attention_mask, per_token)

    def set_ungroup_grouped_query_attention(self, ungroup_grouped_query_attention: bool) -> None:
        """Whether keys and values are computed, and hooked, once for each query head instead of once a group."""
        hooked = [p.name for p in self.hook_dict.values() if p.hooked and "kv_head" in p.axes]
        if hooked:
            raise PointOffError(f"{hooked[0]} has hooks, and its shape would change; remove them first")
        self.cfg = replace(self.cfg, ungroup_grouped_query_attention=ungroup_grouped_query_attention)
        for block in self.blocks:
            if isinstance(block.attn, GroupedQueryAttention):
                block.attn.ungrouped = ungroup_grouped_query_attention

    def _layers(self, start: int | None, stop: int | None) -> range:
        n_layers = self.cfg.n_layers
        for name, layer in (("start_at_layer", start), ("stop_at_layer", stop)):
            if layer is not None and not -n_layers <= layer <= n_layers:
                raise InputError(f"{name}={layer} is outside {-n_layers} to {n_layers}")
        first, end, _ = slice(start, stop).indices(n_layers)
        if first > end:
            raise InputError(f"start_at_layer={start} lies behind stop_at_layer={stop}")
        return range(first, end)

    def _tokens_and_mask(
        self,
        input: str | list[str] | Tensor,
        prepend_bos: bool | None,
        padding_side: Literal["left", "right"] | None,
        attention_mask: Tensor | None,
    ) -> tuple[Int[Tensor, "batch pos"], Tensor | None]:
        mask: Tensor | None
        if not isinstance(input, Tensor):
            # Not cut: a text longer than the context is refused below, like tokens are.
            tokens, mask = self.tokens_and_mask(input, prepend_bos, padding_side, truncate=False)
            tokens, mask = tokens.to(self.W_E.device), mask.to(self.W_E.device)
        else:
            tokens = self._checked_tokens(input[None] if input.ndim == 1 else input)
            side = padding_side or getattr(self.tokenizer, "padding_side", None)
            mask = self.padding_mask(tokens, prepend_bos, side) if side == "left" else None
        return tokens, mask if attention_mask is None else attention_mask

    def _checked_tokens(self, tokens: Tensor) -> Int[Tensor, "batch pos"]:
        if tokens.ndim != 2 or 0 in tokens.shape:
            raise InputError(f"tokens must have shape [batch, pos] with neither empty, not {list(tokens.shape)}")
        if tokens.dtype.is_floating_point or tokens.dtype in (torch.bool, torch.complex64, torch.complex128):
            raise InputError(f"tokens must be whole numbers, not {tokens.dtype}")
        low, high = (int(bound) for bound in tokens.aminmax())
        if low < 0 or high >= self.cfg.d_vocab:
            raise InputError(f"tokens range from {low} to {high}; the vocabulary is 0 to {self.cfg.d_vocab - 1}")
        return tokens.to(self.W_E.device)

    def _checked_residual(self, residual: object) -> Float[Tensor, "batch pos d_model"]:
        if not isinstance(residual, Tensor) or residual.ndim != 3 or residual.shape[-1] != self.cfg.d_model:
            given = list(residual.shape) if isinstance(residual, Tensor) else type(residual).__name__
            raise InputError(f"start_at_layer needs a stream [batch, pos, {self.cfg.d_model}] as input, not {given}")
        if residual.dtype != self.cfg.dtype:
            raise InputError(f"the stream has {residual.dtype}, the model's weights {self.cfg.dtype}")
        return residual

    def _context(
        self, shape: torch.Size, mask: Tensor | None, past: TransformerLensKeyValueCache | None
    ) -> AttentionContext:
        batch, n_queries = shape
        device = self.W_E.device
        n_past = 0 if past is None else self._checked_past(past, batch)
        if n_past + n_queries > self.cfg.n_ctx:
            raise InputError(f"{n_past + n_queries} positions are more than the model's context of {self.cfg.n_ctx}")
        if mask is not None and tuple(mask.shape) != (batch, n_queries):
            raise InputError(f"attention_mask has shape {list(mask.shape)}; the tokens have {[batch, n_queries]}")
        if mask is not None and not bool(((mask == 0) | (mask == 1)).all()):
            raise InputError("attention_mask must hold nothing but 0 (padding) and 1")
        if past is not None:
            new = torch.ones(batch, n_queries, dtype=torch.int, device=device) if mask is None else mask
            mask = past.append_attention_mask(new)
        padding = None if mask is None else mask.to(device).bool()
        if padding is not None and bool(padding.all()):
            padding = None
        return AttentionContext(n_queries, n_past, padding, device)

    def _checked_past(self, past: TransformerLensKeyValueCache, batch: int) -> int:
        if self.cfg.attention_dir == "bidirectional":
            raise InputError("with bidirectional attention earlier keys and values change with every token: no cache")
        given = (past[0].past_keys.shape[0], *past[0].past_keys.shape[2:])
        heads = self.cfg.n_heads if self.cfg.ungroup_grouped_query_attention else self.cfg.n_kv_heads
        expected = (batch, heads, self.cfg.d_head)
        if given != expected:
            raise InputError(f"past_kv_cache holds [batch, head, d_head] = {list(given)}, not {list(expected)}")
        return past[0].past_keys.shape[1]

    def _embedded(
        self, tokens: Int[Tensor, "batch pos"], context: AttentionContext
    ) -> Float[Tensor, "batch pos d_model"]:
        if self.cfg.use_hook_tokens:
            tokens = self.hook_tokens(tokens)
        embedded = self.hook_embed(self.embed(tokens))
        if self.cfg.positional_embedding_type == "standard":
            return embedded + self._positions(context, len(tokens))
        self._add_read_positions(context, len(tokens))
        return embedded

    def _positions(self, context: AttentionContext, batch: int) -> Float[Tensor, "batch pos d_model"]:
        ids = context.position_ids()[:, context.n_past :]
        positions = self.pos_embed.at(ids.expand(batch, -1))
        if context.padding is not None:
            positions = positions * context.padding[:, context.n_past :, None]
        return self.hook_pos_embed(positions)

    def _add_read_positions(self, context: AttentionContext, batch: int) -> None:
        if self.cfg.positional_embedding_type == "shortformer":
            context.added = self._positions(context, batch)

    def _apply(self, fn: Any, recurse: bool = True) -> "HookedTransformer":
        # Every way of moving a module (.to, .double, .cuda) comes through here, and the config must follow.
        super()._apply(fn, recurse)
        weight = self.W_E
        if weight.dtype != self.cfg.dtype or str(weight.device) != self.cfg.device:
            self.cfg = replace(self.cfg, dtype=weight.dtype, device=str(weight.device))
        return self
