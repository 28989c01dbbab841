"""How alike the positions of a stream are, and how fast averaging alone would make them the same.

Attention replaces vectors by averages, so that without anything against it all positions of a deep model end up as
one. Three measures say how far that has gone; two closed forms say how fast it would go.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .low_rank import effective_rank


def mean_cosine(stream: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch"]:
    """The mean cosine between two different positions: 1 if all point the same way, about 0 for random directions.

    (|sum of u|^2 - n) / (n (n - 1)) for n unit vectors u, which costs n products and not n^2. Centred on their own mean
    the vectors would give -1 / (n - 1) whatever they are: centre on other prompts. NaN where a vector is zero.
    """
    n = stream.shape[-2]
    directions = stream / stream.norm(dim=-1, keepdim=True)
    return (directions.sum(dim=-2).square().sum(dim=-1) - n) / (n * (n - 1))


def relative_residual(stream: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch"]:
    """|X - 1 x| / |X| in the Frobenius norm, x the mean position: 0 if all positions are the same vector.

    Source: Dong, Cordonnier and Loukas (2021), section 2, who use another norm.
    """
    residual = stream - stream.mean(dim=-2, keepdim=True)
    return residual.norm(dim=(-2, -1)) / stream.norm(dim=(-2, -1))


def stream_rank(stream: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch"]:
    """The effective rank of the stream's positions as rows: 1 if all point the same way or the opposite.

    Source: Roy and Vetterli (2007).
    """
    return effective_rank(torch.linalg.svdvals(stream.double()))


def centred_on_others(stream: Float[Tensor, "prompt pos d_model"]) -> Float[Tensor, "prompt pos d_model"]:
    """Each prompt's stream less the mean vector of all the other prompts; NaN for a single prompt.

    What all prompts share (a large constant, few large dimensions) makes every pair look alike; it is taken out. The
    prompt's own mean stays in: without it the mean cosine would be -1 / (n - 1) by construction.
    """
    means = stream.mean(dim=1, keepdim=True)
    others = (means.sum(dim=0, keepdim=True) - means) / (len(stream) - 1)
    return stream - others


def uniform_average(
    stream: Float[Tensor, "*batch pos d_model"], causal: bool = True
) -> Float[Tensor, "*batch pos d_model"]:
    """Each position as the mean of those it may look at: attention that is uniform and copies (V = O = identity)."""
    n = stream.shape[-2]
    if not causal:
        return stream.mean(dim=-2, keepdim=True).expand_as(stream)
    counts = torch.arange(1, n + 1, device=stream.device, dtype=stream.dtype)
    return stream.cumsum(dim=-2) / counts[:, None]


def averaged_streams(
    stream: Float[Tensor, "*batch pos d_model"], n_layers: int, skip: bool, causal: bool = True
) -> Float[Tensor, "layer *batch pos d_model"]:
    """The stream before and after each of `n_layers` layers of nothing but uniform averaging.

    The causal average has the eigenvalues 1, 1/2, 1/3, ..., so that the part in which positions differ shrinks, once
    deep enough, by 1/2 a layer; with the skip, against (1 + 1), by (1 + 1/2) / 2 = 3/4. Without a mask one layer
    makes all positions the same, or with the skip halves what they differ in.
    """
    streams = [stream]
    for _ in range(n_layers):
        average = uniform_average(streams[-1], causal)
        # Halved with the skip, which changes no measure of likeness and keeps the numbers from growing.
        streams.append((streams[-1] + average) / 2 if skip else average)
    return torch.stack(streams)
