"""Tokens into the stream, and the stream into logits."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from .affine import affine
from .config import HookedTransformerConfig
from .hook_point import HookPoint


class Embed(nn.Module):
    """One learned vector for each token."""

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(config.d_vocab, config.d_model, dtype=config.dtype))

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """The vector of each token."""
        return F.embedding(tokens, self.W_E)


class Unembed(nn.Module):
    """The stream times W_U, plus a bias: one logit for each token of the output vocabulary."""

    def __init__(self, config: HookedTransformerConfig) -> None:
        super().__init__()
        self.b_U = nn.Parameter(torch.zeros(config.d_vocab_out, dtype=config.dtype))
        self.hook_in = HookPoint("batch pos d_model")
        self.hook_out = HookPoint("batch pos d_vocab_out")
        self._add_weight(config)

    def _add_weight(self, config: HookedTransformerConfig) -> None:
        self.W_U = nn.Parameter(torch.empty(config.d_model, config.d_vocab_out, dtype=config.dtype))

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_vocab_out"]:
        """The logits."""
        return self.hook_out(affine(self.hook_in(resid), self.W_U, self.b_U))

    def some(
        self, resid: Float[Tensor, "row d_model"], tokens: Int[Tensor, "row column"]
    ) -> Float[Tensor, "row column"]:
        """The logits of each row's own tokens alone. Fires no hook: there is no whole activation to show."""
        return torch.einsum("rd,drc->rc", resid, self.W_U[:, tokens]) + self.b_U[tokens]


class TiedUnembed(Unembed):
    """An unembedding whose matrix is the embedding's transpose: one parameter, always equal, trained once."""

    def __init__(self, config: HookedTransformerConfig, embed: Embed) -> None:
        super().__init__(config)
        # Inside a list, so that PyTorch does not register the embedding a second time under this module.
        self._embed = [embed]

    def _add_weight(self, config: HookedTransformerConfig) -> None:
        pass

    @property
    def W_U(self) -> Float[Tensor, "d_model d_vocab_out"]:
        """The embedding, transposed."""
        return self._embed[0].W_E.T
