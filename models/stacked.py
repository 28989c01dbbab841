"""The weights of all layers as one tensor each, under TransformerLens' names."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import FactoredMatrix

from .blocks import PreNormBlock
from .composition import composition_scores
from .config import HookedTransformerConfig
from .embedding import Embed, Unembed
from .errors import InputError, MissingWeightError
from .positions import PosEmbed

_OF_POSITIONS = ("W_pos", "W_E_pos")
_OF_MLPS = ("W_in", "W_gate", "W_out", "b_in", "b_out")


class StackedWeights:
    """Properties over a model's `embed`, `blocks` and `unembed`; biases that do not exist read as zeros."""

    cfg: HookedTransformerConfig
    embed: Embed
    pos_embed: PosEmbed
    unembed: Unembed
    blocks: Sequence[PreNormBlock]

    def __getattr__(self, name: str) -> Any:
        # Python comes here behind a property that raised an AttributeError, and would say less about it.
        if name in _OF_POSITIONS or name in _OF_MLPS:
            self._require_weight(name)
        return super().__getattr__(name)  # type: ignore[misc]  # this is mixed into PyTorch's modules

    def _require_weight(self, name: str) -> None:
        if name in _OF_MLPS and self.cfg.attn_only:
            raise MissingWeightError(f"this model is attention-only: it has no {name}")
        positions = self.cfg.positional_embedding_type
        if name in _OF_POSITIONS and positions not in ("standard", "shortformer"):
            raise MissingWeightError(f"a model with {positions} positions has no {name}")

    def _of_attention(self, name: str) -> Tensor:
        return torch.stack([getattr(block.attn, name) for block in self.blocks])

    def _of_mlp(self, name: str) -> Tensor:
        self._require_weight(name)
        return torch.stack([getattr(block.mlp, name) for block in self.blocks])

    @property
    def W_E(self) -> Float[Tensor, "d_vocab d_model"]:
        """The embedding."""
        return self.embed.W_E

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab_out"]:
        """The unembedding."""
        return self.unembed.W_U

    @property
    def b_U(self) -> Float[Tensor, " d_vocab_out"]:
        """The unembedding's bias."""
        return self.unembed.b_U

    @property
    def W_pos(self) -> Float[Tensor, "n_ctx d_model"]:
        """The learned positions."""
        self._require_weight("W_pos")
        return self.pos_embed.W_pos

    @property
    def W_E_pos(self) -> Float[Tensor, "d_vocab_n_ctx d_model"]:
        """Embedding and positions, one under the other: everything that can stand at the bottom of the stream."""
        return torch.cat([self.W_E, self.W_pos])

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_head"]:
        """The query matrices."""
        return self._of_attention("W_Q")

    @property
    def W_K(self) -> Float[Tensor, "layer head d_model d_head"]:
        """The key matrices, one for each query head."""
        return self._of_attention("W_K")

    @property
    def W_V(self) -> Float[Tensor, "layer head d_model d_head"]:
        """The value matrices, one for each query head."""
        return self._of_attention("W_V")

    @property
    def W_O(self) -> Float[Tensor, "layer head d_head d_model"]:
        """The output matrices."""
        return self._of_attention("W_O")

    @property
    def b_Q(self) -> Float[Tensor, "layer head d_head"]:
        """The query biases."""
        return self._of_attention("b_Q")

    @property
    def b_K(self) -> Float[Tensor, "layer head d_head"]:
        """The key biases."""
        return self._of_attention("b_K")

    @property
    def b_V(self) -> Float[Tensor, "layer head d_head"]:
        """The value biases."""
        return self._of_attention("b_V")

    @property
    def b_O(self) -> Float[Tensor, "layer d_model"]:
        """The attention layers' output biases."""
        return self._of_attention("b_O")

    @property
    def W_in(self) -> Float[Tensor, "layer d_model d_mlp"]:
        """The matrices into the MLPs."""
        return self._of_mlp("W_in")

    @property
    def W_gate(self) -> Float[Tensor, "layer d_model d_mlp"] | None:
        """The gates of gated MLPs, else None."""
        return self._of_mlp("W_gate") if self.cfg.gated_mlp else None

    @property
    def W_out(self) -> Float[Tensor, "layer d_mlp d_model"]:
        """The matrices out of the MLPs."""
        return self._of_mlp("W_out")

    @property
    def b_in(self) -> Float[Tensor, "layer d_mlp"]:
        """The biases into the MLPs."""
        return self._of_mlp("b_in")

    @property
    def b_out(self) -> Float[Tensor, "layer d_model"]:
        """The biases out of the MLPs."""
        return self._of_mlp("b_out")

    @property
    def QK(self) -> FactoredMatrix:
        """W_Q W_K^T of every head. Source: Elhage et al. (2021)."""
        return FactoredMatrix(self.W_Q, self.W_K.transpose(-2, -1))

    @property
    def OV(self) -> FactoredMatrix:
        """W_V W_O of every head. Source: Elhage et al. (2021)."""
        return FactoredMatrix(self.W_V, self.W_O)

    def all_composition_scores(self, mode: Literal["Q", "K", "V"]) -> Float[Tensor, "layer head layer2 head2"]:
        """How much of what the first head writes the second reads; 0 where the second is not in a later layer.

        Source: Elhage et al. (2021), "Q-, K- and V-composition".

        Raises:
            InputError: mode is none of the three.
        """
        readers = {"Q": self.QK, "K": self.QK.T, "V": self.OV}
        if mode not in readers:
            raise InputError(f"mode must be 'Q', 'K' or 'V', not {mode!r}")
        return composition_scores(self.W_V, self.W_O, readers[mode].A, readers[mode].B)

    def all_head_labels(self) -> list[str]:
        """L0H0, L0H1, ..."""
        return [f"L{layer}H{head}" for layer in range(self.cfg.n_layers) for head in range(self.cfg.n_heads)]

    def accumulated_bias(
        self, layer: int, mlp_input: bool = False, include_mlp_biases: bool = True
    ) -> Float[Tensor, " d_model"]:
        """The sum of the output biases of all layers before `layer` (of its attention too, for its MLP's input).

        Raises:
            InputError: layer outside 0 to n_layers (n_layers - 1 for an MLP's input).
        """
        if not 0 <= layer <= self.cfg.n_layers - mlp_input:
            raise InputError(f"layer {layer} is outside 0 to {self.cfg.n_layers - mlp_input}")
        attention = self.b_O[: layer + mlp_input].sum(dim=0)
        with_mlps = include_mlp_biases and not self.cfg.attn_only
        return attention + self.b_out[:layer].sum(dim=0) if with_mlps else attention
