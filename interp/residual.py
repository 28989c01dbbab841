"""The residual stream as a sum of what was written into it, each part with its label. Source: Elhage et al. (2021).

Components are `embed`, `pos_embed`, each head (`L0H3`), each attention layer's bias (`L0 b_O`), each MLP's neurons
(`L0 MLP`) and its bias (`L0 b_out`). Where a norm stands between a layer and the stream (Gemma 2), its parts are taken
through it at the scale of the run, and its bias is a component of its own (`L0 attention norm bias`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .biases import bias
from .bridge_points import is_bridge
from .errors import NotASumError, UnknownPointError
from .frozen_norm import FrozenNorm, frozen_norm, scale_point

Kind = Literal["embedding", "head", "mlp", "bias"]

SHARE_OF_ROUNDING = 1e4
"""How many units of rounding a sum over all blocks of a bridge may be off."""


@dataclass(frozen=True, eq=False)
class Write:
    """What one component wrote, kept as `inner @ weight`, so that a head costs d_head numbers and not d_model.

    Attributes:
        label: `embed`, `L0H3`, `L0 MLP`, `L0 b_O` ...
        kind: embedding, head, mlp or bias.
        layer: its block; None for the embeddings.
        inner: a head's z, an MLP's neurons, or the write itself.
        weight: W_O of the head or W_out; None where `inner` is the write itself.
        norm: the norm behind the layer, if there is one.
    """

    label: str
    kind: Kind
    layer: int | None
    inner: Float[Tensor, "batch pos inner"]
    weight: Float[Tensor, "inner d_model"] | None = None
    norm: FrozenNorm | None = None

    def value(self) -> Float[Tensor, "batch pos d_model"]:
        """What was added to the stream, in float64."""
        written = self.inner.double() if self.weight is None else self.inner.double() @ self.weight.double()
        return written if self.norm is None else self.norm.linear(written)

    def parts(self) -> Float[Tensor, "inner batch pos d_model"]:
        """What each neuron (or each coordinate of z) added: d_mlp times as large as `value`."""
        weight = torch.eye(self.inner.shape[-1]).to(self.inner) if self.weight is None else self.weight
        written = torch.einsum("bpn,nd->nbpd", self.inner.double(), weight.double())
        return written if self.norm is None else self.norm.linear(written)

    def along(self, direction: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos"]:
        """The product of what was written with a direction at each position."""
        return self.parts_along(direction).sum(dim=-1)

    def parts_along(self, direction: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos inner"]:
        """The same for each neuron (or coordinate of z): the direction is taken back, nothing is multiplied out."""
        direction = direction.double() if self.norm is None else self.norm.adjoint(direction)
        return self.inner.double() * (direction if self.weight is None else direction @ self.weight.double().mT)


@torch.no_grad()
def residual_writes(model: Any, tokens: Int[Tensor, "batch pos"], stream: str) -> tuple[Write, ...]:
    """The components that sum to the stream at a site (`blocks.2.hook_resid_mid`), in the order of the forward pass.

    Raises:
        NotASumError: the stream is normalised itself (post-norm blocks); or it is a bridge's, and the sum is another.
        UnknownPointError: no stream of that name.
    """
    _, recorded = model.run_with_cache(tokens, names_filter=[*writing_points(model, stream), stream])
    found = writes(model, dict(recorded), stream)
    require_sum_of(model, found, recorded[stream])
    return found


def last_stream(model: Any) -> str:
    """The name of the stream that the final norm reads."""
    return f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"


def embedding_points(model: Any) -> list[str]:
    """The hook names of what the stream begins with; other positions are fired there too."""
    added = ["hook_embed"]
    if getattr(model.cfg, "positional_embedding_type", "standard") not in ("rotary", "shortformer"):
        added.append("hook_pos_embed")
    return [name for name in added if name in model.hook_dict]


def writing_points(model: Any, stream: str) -> list[str]:
    """The hook names that have to be recorded to take the stream at that site apart.

    Raises:
        NotASumError, UnknownPointError: as `residual_writes`.
    """
    names = embedding_points(model)
    for layer, branch in _branches(model, stream):
        block = f"blocks.{layer}"
        names.append(f"{block}.attn.hook_z" if branch == "attn" else f"{block}.mlp.hook_post")
        names += scale_point(model, f"{block}.{_NORM_AFTER[branch]}")
    return names


def writes(model: Any, recorded: Mapping[str, Tensor], stream: str) -> tuple[Write, ...]:
    """As `residual_writes`, of a run in which `writing_points` were recorded."""
    branches = _branches(model, stream)
    batch, length = recorded["hook_embed"].shape[:2]
    found = [
        Write(name.removeprefix("hook_"), "embedding", None, recorded[name].expand(batch, -1, -1))
        for name in ("hook_embed", "hook_pos_embed")
        if name in recorded
    ]
    for layer, branch in branches:
        norm = frozen_norm(model, recorded, f"blocks.{layer}.{_NORM_AFTER[branch]}")
        parts = _heads(model, recorded, layer, norm) if branch == "attn" else _mlp(model, recorded, layer, norm)
        if bool(norm.bias.any()):
            label = f"L{layer} {'attention' if branch == 'attn' else 'MLP'} norm bias"
            parts.append(Write(label, "bias", layer, norm.bias.expand(batch, length, -1)))
        found += parts
    return tuple(found)


_NORM_AFTER = {"attn": "ln1_post", "mlp": "ln2_post"}


def _heads(model: Any, recorded: Mapping[str, Tensor], layer: int, norm: FrozenNorm) -> list[Write]:
    z = recorded[f"blocks.{layer}.attn.hook_z"]
    attention = model.blocks[layer].attn
    W_O = attention.W_O.detach()
    heads = [
        Write(f"L{layer}H{head}", "head", layer, z[:, :, head], W_O[head], norm) for head in range(model.cfg.n_heads)
    ]
    b_O = bias(attention, "b_O", W_O).to(W_O).expand(*z.shape[:2], -1)
    return [*heads, Write(f"L{layer} b_O", "bias", layer, b_O, None, norm)]


def _mlp(model: Any, recorded: Mapping[str, Tensor], layer: int, norm: FrozenNorm) -> list[Write]:
    neurons, mlp = recorded[f"blocks.{layer}.mlp.hook_post"], model.blocks[layer].mlp
    W_out = mlp.W_out.detach()
    b_out = bias(mlp, "b_out", W_out).to(W_out).expand(*neurons.shape[:2], -1)
    return [
        Write(f"L{layer} MLP", "mlp", layer, neurons, W_out, norm),
        Write(f"L{layer} b_out", "bias", layer, b_out, None, norm),
    ]


def require_sum(model: Any) -> None:
    """Nothing, if the stream is a sum.

    Raises:
        NotASumError: post-norm blocks normalise, and perhaps scale, the stream itself.
    """
    if getattr(model.cfg, "norm_placement", "pre") == "post":
        raise NotASumError("post-norm blocks normalise the stream itself, so it is no sum of what was written")


def require_sum_of(model: Any, parts: Sequence[Write], stream: Float[Tensor, "batch pos d_model"]) -> None:
    """Nothing, if the parts sum to the stream; asked of bridges alone, whose configs do not say all that blocks do.

    Raises:
        NotASumError: they do not; the message says by how much.
    """
    if not is_bridge(model):
        return
    expected = stream.double()
    total = torch.stack([part.value() for part in parts]).sum(dim=0)
    off = float((total - expected).abs().max() / expected.abs().max())
    # Written so that NaN does not pass.
    if not off <= SHARE_OF_ROUNDING * torch.finfo(stream.dtype).eps:
        raise NotASumError(
            f"embeddings, heads, MLPs and biases do not sum to the stream of this bridge: they are off by {off:.1e} of "
            "its largest entry; its blocks scale or norm what is written in a way this library does not know"
        )


def _branches(model: Any, stream: str) -> list[tuple[int, Literal["attn", "mlp"]]]:
    """The attention layers and MLPs that have written when the stream passes the site."""
    require_sum(model)
    found = re.fullmatch(r"blocks\.(\d+)\.hook_resid_(pre|mid|post)", stream)
    if found is None or stream not in model.hook_dict:
        raise UnknownPointError(stream, [name for name in model.hook_dict if ".hook_resid_" in name])
    end, place = int(found[1]), found[2]
    branches: list[tuple[int, Literal["attn", "mlp"]]] = []
    for layer in range(end + (place != "pre")):
        branches.append((layer, "attn"))
        if f"blocks.{layer}.mlp.hook_post" in model.hook_dict and (layer < end or place == "post"):
            branches.append((layer, "mlp"))
    return branches
