"""Position: a learned vector added to the stream, or a rotation of queries and keys."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .config import HookedTransformerConfig


class PosEmbed(nn.Module):
    """One learned vector for each position. Source: Radford et al. (2019)."""

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__()
        self.W_pos = nn.Parameter(torch.empty(config.n_ctx, config.d_model, dtype=config.dtype))

    def forward(self, position_ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The vector of each position."""
        return self.W_pos[position_ids]


class Rotary(nn.Module):
    """Turns each pair of coordinates by an angle that grows with the position.

    A score between two rotated vectors depends on their distance alone. Pairs are the two halves of the vector
    (GPT-NeoX, Llama), or neighbours (GPT-J) if `rotary_adjacent_pairs`. Source: Su et al. (2021).
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__()
        self.rotary_dim = config.rotary_dim or config.d_head
        self.adjacent = config.rotary_adjacent_pairs
        self.base = config.rotary_base
        self.n_ctx = config.n_ctx
        cos, sin = self._tables(config.dtype)
        # Derived from the config, hence not part of the saved weights.
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _tables(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        precision = torch.float64 if dtype == torch.float64 else torch.float32
        exponents = torch.arange(0, self.rotary_dim, 2, dtype=precision) / self.rotary_dim
        angles = torch.arange(self.n_ctx, dtype=precision)[:, None] / self.base**exponents
        return angles.cos().to(dtype), angles.sin().to(dtype)

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
