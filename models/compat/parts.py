"""The parts of a model with the methods and attributes that TransformerLens 3.9's have besides ours.

What they compute is ours; a forward pass does not come through here. Notebooks call these on a finished model, so
each part is given its class when the model is built.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformer_lens.utilities import get_offset_position_ids

from .. import attention, blocks
from ..activations import soft_capped
from ..config import HookedTransformerConfig
from ..errors import InputError
from ..hook_point import HookPoint
from ..masks import Visibility

_INSTEAD_OF_ATTENTION = {
    "alibi": "no such positions are built here",
    "calculate_sin_cos_rotary": "rotary_sin and rotary_cos are the tables",
    "create_alibi_bias": "no such positions are built here",
    "hook_attn_input": "hook_q_input and hook_k_input of the block come before the positions are added",
    "rotate_every_two": "apply_rotary turns queries or keys as a whole",
}
_OF_ROTARY = ("apply_rotary", "rotary_sin", "rotary_cos")


class _Attention(attention.Attention):
    """TransformerLens' steps of attention, each by itself."""

    cfg: HookedTransformerConfig
    layer_id: int

    @property
    def attn_type(self) -> str:
        """Whether this layer sees a window ("local") or everything before it ("global")."""
        return "global" if self.visible.window is None else "local"

    @property
    def mask(self) -> Bool[Tensor, "query key"]:
        """True where a query may look at a key, for all positions of the context; 3.9.0's own is empty."""
        positions = torch.arange(self.cfg.n_ctx, device=self.W_O.device)
        return self.visible.allowed(positions, positions)

    @property
    def IGNORE(self) -> Float[Tensor, ""]:
        """The score of what may not be looked at."""
        return torch.tensor(-torch.inf, dtype=self.W_O.dtype, device=self.W_O.device)

    @property
    def rotary_sin(self) -> Float[Tensor, "pos rotary_dim"]:
        """The sine of the angle by which each position turns each coordinate."""
        return self._table("sin")

    @property
    def rotary_cos(self) -> Float[Tensor, "pos rotary_dim"]:
        """The cosine of the same."""
        return self._table("cos")

    def _table(self, name: str) -> Float[Tensor, "pos rotary_dim"]:
        if self.rotary is None:
            raise AttributeError(name)
        table: Tensor = getattr(self.rotary, name)
        return table.repeat_interleave(2, dim=-1) if self.rotary.adjacent else torch.cat([table, table], dim=-1)

    def apply_rotary(
        self,
        x: Float[Tensor, "batch pos head d_head"],
        past_kv_pos_offset: int = 0,
        attention_mask: Int[Tensor, "batch offset_pos"] | None = None,
    ) -> Float[Tensor, "batch pos head d_head"]:
        """Queries or keys turned by their positions, not normed.

        Raises:
            InputError: positions beyond the context.
            AttributeError: the model's positions are no rotation.
        """
        if self.rotary is None:
            return self.__getattr__("apply_rotary")
        end = past_kv_pos_offset + x.shape[1]
        if end > self.cfg.n_ctx:
            raise InputError(f"{end} positions are more than the model's context of {self.cfg.n_ctx}")
        if attention_mask is not None:
            return self.rotary(x, get_offset_position_ids(past_kv_pos_offset, attention_mask))
        return self.rotary(x, torch.arange(past_kv_pos_offset, end, device=x.device)[None])

    def calculate_qkv_matrices(
        self,
        query_input: Float[Tensor, "batch pos *head d_model"],
        key_input: Float[Tensor, "batch key *kv_head d_model"],
        value_input: Float[Tensor, "batch key *kv_head d_model"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values; the first two normed where heads are, and not yet turned by their positions."""
        q, k, v = self.queries(query_input), self.keys(key_input), self.values(value_input)
        return q if self.q_norm is None else self.q_norm(q), k if self.k_norm is None else self.k_norm(k), v

    def calculate_attention_scores(
        self, q: Float[Tensor, "batch query head d_head"], k: Float[Tensor, "batch key kv_head d_head"]
    ) -> Float[Tensor, "batch head query key"]:
        """Queries times keys over the scale, capped; nothing is masked, and no hook fires."""
        k = self.per_query_head(k)
        return soft_capped(q.transpose(1, 2) @ k.permute(0, 2, 3, 1) / self.attn_scale, self.soft_cap)

    def apply_causal_mask(
        self,
        attn_scores: Float[Tensor, "batch head query key"],
        past_kv_pos_offset: int = 0,
        attention_mask: Int[Tensor, "batch key"] | None = None,
    ) -> Float[Tensor, "batch head query key"]:
        """The scores, -inf where a query would look ahead, out of its layer's window, or at padding.

        Raises:
            InputError: another number of queries and keys than the offset has.
        """
        n_queries, n_keys = attn_scores.shape[-2:]
        if n_queries + past_kv_pos_offset != n_keys:
            raise InputError(
                f"{n_queries} queries behind {past_kv_pos_offset} positions look at "
                f"{n_queries + past_kv_pos_offset} keys, not at {n_keys}"
            )
        keys = torch.arange(n_keys, device=attn_scores.device)
        allowed = Visibility(True, self.visible.window).allowed(keys[past_kv_pos_offset:], keys)[None, None]
        if attention_mask is not None:
            allowed = allowed & attention_mask.to(allowed.device)[:, None, None].bool()
        return attn_scores.masked_fill(~allowed, -torch.inf)

    def calculate_z_scores(
        self, v: Float[Tensor, "batch key kv_head d_head"], pattern: Float[Tensor, "batch head query key"]
    ) -> Float[Tensor, "batch query head d_head"]:
        """Each head's mean of the values, weighted by the pattern; `hook_z` fires."""
        return self.hook_z((pattern @ self.per_query_head(v).transpose(1, 2)).transpose(1, 2))

    def __getattr__(self, name: str) -> Any:
        if name in _OF_ROTARY:
            positions = self.cfg.positional_embedding_type
            raise AttributeError(f"a model with {positions} positions has no {name}: nothing is turned")
        if name in _INSTEAD_OF_ATTENTION:
            raise AttributeError(f"{name} is not covered by models.compat; {_INSTEAD_OF_ATTENTION[name]}")
        return super().__getattr__(name)


class Attention(_Attention):
    """Attention, each head with keys and values of its own."""


class GroupedQueryAttention(_Attention, attention.GroupedQueryAttention):
    """Attention whose query heads share keys and values."""

    @property
    def repeat_kv_heads(self) -> int:
        """How many query heads share one head of keys and values."""
        return self.repeats


class _Block(blocks.PreNormBlock):
    cfg: HookedTransformerConfig

    def apply_mlp(self, normalized_resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What the MLP writes into the stream, given what it reads behind its norm.

        Raises:
            AttributeError: the model is attention-only.
        """
        if self.cfg.attn_only:
            raise AttributeError("this model is attention-only: a block has no MLP to apply")
        return self.mlp_write(self.mlp(normalized_resid))


class PreNormBlock(_Block):
    """x + attention(norm(x)), then x + mlp(norm(x))."""


class AttentionOnlyBlock(_Block, blocks.AttentionOnlyBlock):
    """x + attention(norm(x))."""


class ParallelBlock(_Block, blocks.ParallelBlock):
    """x + attention(norm(x)) + mlp(norm(x))."""


class PostNormBlock(_Block, blocks.PostNormBlock):
    """norm(scale * x + attention(x)), then norm(scale * x + mlp(x))."""


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    getattr(module, kind.__name__): kind
    for module, kinds in (
        (attention, (Attention, GroupedQueryAttention)),
        (blocks, (PreNormBlock, AttentionOnlyBlock, ParallelBlock, PostNormBlock)),
    )
    for kind in kinds
}


def give_classes(model: nn.Module, layers: Any) -> None:
    """The model's parts become those of this module; their weights and hooks are as before."""
    for part in model.modules():
        part.__class__ = _CLASSES.get(type(part), type(part))
    for layer, block in enumerate(layers):
        block.attn.layer_id = layer


def give_config(model: nn.Module, config: HookedTransformerConfig) -> None:
    """Each part has the config as its `cfg`; it is the model's, and changes with the model's alone."""
    for part in model.modules():
        if part is not model and not isinstance(part, (HookPoint, nn.ModuleList)):
            part.__dict__["cfg"] = config
