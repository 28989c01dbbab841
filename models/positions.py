"""Position: a learned vector added to the stream or to what queries and keys read, or a rotation of these."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .config import HookedTransformerConfig


class PosEmbed(nn.Module):
    """One learned vector for each position.

    Added to the stream (Radford et al., 2019), or by every block to the normalised stream where queries and keys read
    it, and not where values do: the stream has no positions then (Press et al., 2021, "Shortformer", section 4).
    """

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__()
        self.W_pos = nn.Parameter(torch.empty(config.n_ctx, config.d_model, dtype=config.dtype))

    def forward(
        self, tokens: Int[Tensor, "batch pos"], past_kv_pos_offset: int = 0
    ) -> Float[Tensor, "batch pos d_model"]:
        """The vectors of as many positions as there are tokens, as TransformerLens has it; which tokens is all one.

        Args:
            past_kv_pos_offset: the first token's position.
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device) + past_kv_pos_offset
        return self.at(positions.expand(tokens.shape[0], -1))

    def at(self, position_ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The vector of each position."""
        return self.W_pos[position_ids]


class Rotary(nn.Module):
    """Turns each pair of coordinates by an angle that grows with the position.

    A score between two rotated vectors depends on their distance alone. Pairs are the two halves of the vector
    (GPT-NeoX, Llama), or neighbours (GPT-J) if `rotary_adjacent_pairs`. Source: Su et al. (2021).

    For texts longer than a model was first trained on, angles grow more slowly: all of them (Chen et al., 2023,
    "Extending Context Window ... via Positional Interpolation"), or the slow ones (Llama 3.1; after Peng et al., 2023,
    "YaRN", section 3.2). Local blocks have a base of their own and no scaling (Gemma 3).
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: HookedTransformerConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.rotary_dim = config.rotary_dim or config.d_head
        self.adjacent = config.rotary_adjacent_pairs
        self.is_local = config.use_local_attn and (config.attn_types or ())[layer] == "local"
        self.n_ctx = config.n_ctx
        cos, sin = self._tables(config.dtype)
        # Derived from the config, hence not part of the saved weights.
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _tables(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        precision = torch.float64 if dtype == torch.float64 else torch.float32
        angles = torch.arange(self.n_ctx, dtype=precision)[:, None] * self.frequencies(precision)
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def frequencies(self, precision: torch.dtype) -> Float[Tensor, " pair"]:
        """By how much each pair is turned from one position to the next, in radians."""
        cfg = self.config
        has_own_base = self.is_local and cfg.rotary_base_local is not None
        base = cfg.rotary_base_local if has_own_base else cfg.rotary_base
        found = 1 / float(base or 1) ** (torch.arange(0, self.rotary_dim, 2, dtype=precision) / self.rotary_dim)
        if cfg.use_NTK_by_parts_rope:
            return _slowed_by_parts(found, cfg)
        return found if self.is_local else found / cfg.rotary_scaling_factor

    def _apply(self, fn: Any, recurse: bool = True) -> "Rotary":
        before = self.cos.dtype
        super()._apply(fn, recurse)
        if self.cos.dtype != before:
            # Made anew: a table converted to a finer dtype would keep the rounding of the coarser one.
            self.cos, self.sin = (table.to(self.cos.device) for table in self._tables(self.cos.dtype))
        return self

    def forward(
        self, x: Float[Tensor, "batch pos head d_head"], position_ids: Int[Tensor, "#batch pos"]
    ) -> Float[Tensor, "batch pos head d_head"]:
        """The first `rotary_dim` coordinates of each head rotated, the others as they are."""
        cos, sin = self.cos[position_ids][:, :, None], self.sin[position_ids][:, :, None]
        turned, rest = x[..., : self.rotary_dim], x[..., self.rotary_dim :]
        first, second = (turned[..., ::2], turned[..., 1::2]) if self.adjacent else turned.chunk(2, dim=-1)
        pair = (first * cos - second * sin, second * cos + first * sin)
        turned = torch.stack(pair, dim=-1).flatten(-2) if self.adjacent else torch.cat(pair, dim=-1)
        return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


def _slowed_by_parts(frequencies: Float[Tensor, " pair"], cfg: HookedTransformerConfig) -> Float[Tensor, " pair"]:
    """Slow pairs slowed by the whole factor, fast ones not at all, those between by a share of it."""
    turns = cfg.NTK_original_ctx_len * frequencies / (2 * math.pi)
    low, high = cfg.NTK_by_parts_low_freq_factor, cfg.NTK_by_parts_high_freq_factor
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / cfg.NTK_by_parts_factor)
