"""Path expansion: the logits of an attention-only model as a sum over the ways from a token to the output.

With the patterns and the scales of the norms held at their values in one run, an attention-only model is affine in its
embeddings. A path goes from the embeddings (with their positions) through any number of heads, one of each layer at
most, to the logits; the number of heads is its order: 0 for the direct path, 1 for single heads, 2 for virtual heads of
two, and so on. What starts in a bias (of a head, a norm or the unembedding) is a term of its own, however many heads it
passes.

Source: Elhage et al. (2021), "Path expansion trick for understanding transformers" and "Term importance analysis".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .biases import bias
from .errors import NotASumError
from .frozen_norm import FrozenNorm, frozen_norm, scale_point
from .residual import embedding_points, require_sum

Stream = Float[Tensor, "*term batch pos d_model"]


@dataclass(frozen=True, eq=False)
class FrozenLayer:
    """One attention layer with its patterns and norms held: an affine map of the stream.

    Attributes:
        patterns: where each head looks.
        reads: the norm before the layer.
        writes: the norm behind it; the identity in most models.
        W_V, W_O: the heads' matrices.
        b_V: the heads' value biases.
        b_O: the layer's bias.
    """

    patterns: Float[Tensor, "batch head query key"]
    reads: FrozenNorm
    writes: FrozenNorm
    W_V: Float[Tensor, "head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]
    b_V: Float[Tensor, "head d_head"]
    b_O: Float[Tensor, " d_model"]

    def linear(self, stream: Stream) -> Stream:
        """What all heads together write of a part of the stream, without biases."""
        values = torch.einsum("...bkd,hde->...bkhe", self.reads.linear(stream), self.W_V)
        return self._written(values)

    def by_head(self, stream: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "head batch pos d_model"]:
        """What each head by itself writes of a part of the stream, without biases."""
        values = torch.einsum("bkd,hde->bkhe", self.reads.linear(stream), self.W_V)
        mixed = torch.einsum("bhqk,bkhe->bqhe", self.patterns, values)
        return self.writes.linear(torch.einsum("bqhe,hed->hbqd", mixed, self.W_O))

    def bias(self) -> Float[Tensor, "batch pos d_model"]:
        """What the layer adds whatever stands in the stream: the biases of norms, values and output."""
        batch, _, _, length = self.patterns.shape
        values = torch.einsum("d,hde->he", self.reads.bias, self.W_V) + self.b_V
        written = self._written(values.expand(batch, length, -1, -1))
        return written + self.writes.linear(self.b_O.expand(batch, length, -1)) + self.writes.bias

    def _written(self, values: Float[Tensor, "*term batch key head d_head"]) -> Stream:
        mixed = torch.einsum("bhqk,...bkhe->...bqhe", self.patterns, values)
        return self.writes.linear(torch.einsum("...bqhe,hed->...bqd", mixed, self.W_O))


@dataclass(frozen=True, eq=False)
class FrozenModel:
    """An attention-only model with the patterns and norm scales of one run.

    Attributes:
        layers: the attention layers.
        embedded: the embeddings with their positions.
        final: the norm before the unembedding.
        W_U, b_U: the unembedding.
        soft_cap: the cap of the logits, 0 for none; the terms sum to the logits before it.
        logits: the model's own logits.
    """

    layers: tuple[FrozenLayer, ...]
    embedded: Float[Tensor, "batch pos d_model"]
    final: FrozenNorm
    W_U: Float[Tensor, "d_model d_vocab"]
    b_U: Float[Tensor, " d_vocab"]
    soft_cap: float
    logits: Float[Tensor, "batch pos d_vocab"]

    def orders(self) -> Float[Tensor, "order batch pos d_model"]:
        """The stream at the end by the order of the paths, 0 to n_layers, without what starts in a bias.

        Bucketed: the terms of one order go through a layer together, so that no path is walked by itself.
        """
        terms = self.embedded[None]
        for layer in self.layers:
            nothing = torch.zeros_like(terms[:1])
            terms = torch.cat([terms, nothing]) + torch.cat([nothing, layer.linear(terms)])
        return terms

    def biases(self) -> Float[Tensor, "batch pos d_model"]:
        """All that starts in a bias of some layer, by whatever paths it reaches the end of the stream."""
        stream = torch.zeros_like(self.embedded)
        for layer in self.layers:
            stream = stream + layer.linear(stream) + layer.bias()
        return stream

    def single_heads(self, layer: int) -> Float[Tensor, "head batch pos d_model"]:
        """The paths of order 1 through each head of a layer."""
        return self.layers[layer].by_head(self.embedded)

    def virtual_heads(self, layer: int, head: int, later: int) -> Float[Tensor, "head batch pos d_model"]:
        """The paths of order 2 through one head of a layer and then each head of a later one."""
        return self.layers[later].by_head(self.single_heads(layer)[head])

    def read_out(self, stream: Stream) -> Float[Tensor, "*term batch pos d_vocab"]:
        """The logits that a part of the stream makes, without biases and before a soft cap."""
        return self.final.linear(stream) @ self.W_U

    def constant(self) -> Float[Tensor, " d_vocab"]:
        """The logits of the final norm's bias and b_U."""
        return self.final.bias @ self.W_U + self.b_U

    def capped(self, logits: Float[Tensor, "*term batch pos d_vocab"]) -> Float[Tensor, "*term batch pos d_vocab"]:
        """The logits behind the soft cap."""
        return self.soft_cap * torch.tanh(logits / self.soft_cap) if self.soft_cap > 0 else logits


@torch.no_grad()
def frozen_model(model: Any, tokens: Int[Tensor, "batch pos"]) -> FrozenModel:
    """The model with the patterns and norm scales that it has on these tokens, in float64.

    Raises:
        NotASumError: a model with MLPs, which no pattern makes linear, or with post-norm blocks.
    """
    require_attention_only(model)
    embeddings = embedding_points(model)
    layers = range(model.cfg.n_layers)
    norms = [f"blocks.{layer}.{norm}" for layer in layers for norm in ("ln1", "ln1_post")]
    scales = [point for norm in [*norms, "ln_final"] for point in scale_point(model, norm)]
    patterns = [f"blocks.{layer}.attn.hook_pattern" for layer in layers]
    logits, cache = model.run_with_cache(tokens, names_filter=[*embeddings, *scales, *patterns])
    recorded = dict(cache)
    return FrozenModel(
        tuple(_frozen_layer(model, recorded, layer) for layer in layers),
        sum((recorded[name].double() for name in embeddings), torch.zeros((), dtype=torch.float64)),
        frozen_norm(model, recorded, "ln_final"),
        model.unembed.W_U.detach().double(),
        model.unembed.b_U.detach().double(),
        max(float(getattr(model.cfg, "output_logits_soft_cap", None) or 0.0), 0.0),
        logits.double(),
    )


def require_attention_only(model: Any) -> None:
    """Nothing, if frozen patterns make the model a sum of paths.

    Raises:
        NotASumError: it has MLPs, or post-norm blocks.
    """
    require_sum(model)
    if any(name.endswith(".mlp.hook_post") for name in model.hook_dict):
        raise NotASumError("it has MLPs, which are not linear: there is no sum over paths")


def _frozen_layer(model: Any, recorded: Mapping[str, Tensor], layer: int) -> FrozenLayer:
    attention, n_heads = model.blocks[layer].attn, model.cfg.n_heads

    def for_each_head(matrix: Tensor) -> Tensor:
        return matrix.detach().double().repeat_interleave(n_heads // len(matrix), dim=0)

    return FrozenLayer(
        recorded[f"blocks.{layer}.attn.hook_pattern"].double(),
        frozen_norm(model, recorded, f"blocks.{layer}.ln1"),
        frozen_norm(model, recorded, f"blocks.{layer}.ln1_post"),
        for_each_head(attention.W_V),
        for_each_head(attention.W_O),
        for_each_head(bias(attention, "b_V", attention.W_V)),
        bias(attention, "b_O", attention.W_O),
    )


def virtual_pattern(
    later: Float[Tensor, "*#batch query middle"], earlier: Float[Tensor, "*#batch middle key"]
) -> Float[Tensor, "*batch query key"]:
    """Where a virtual head looks: A2 A1, which has rows that sum to one and is causal, as both of its factors."""
    return later @ earlier
