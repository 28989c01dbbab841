"""Heads read from their weights: short roads through d_head numbers against long ones through the whole matrices.

The norms are left unfolded: the algebra holds for whatever matrices stand there. Source: Elhage et al. (2021).
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..low_rank import product_eigenvalues
from ..weights import composition_scores, copying_scores
from .invariant import DTYPES, ROUNDING, Bounded, Invariant, Tolerance
from .reading import deviation, head_weights, worst
from .weights import other_names

ROWS = 96
"""How many tokens stand for the vocabulary: a circuit over any subset of it is a circuit."""

HEADS = 4
"""Of how many heads the long road is walked: the last of each of the last layers."""

EIGENVALUES = Tolerance(
    "relative to the largest eigenvalue; those of a matrix that is not normal move by rounding times its condition, "
    "and coinciding ones by a root of that",
    dict.fromkeys(DTYPES, 1e-6),
)

SAMPLING = Tolerance(
    "a mean over random draws, always the same ones: five of its own standard errors",
    ROUNDING.by_dtype,
)


def _heads(model: Any, name: str) -> Float[Tensor, "head ..."]:
    layers = range(max(0, model.cfg.n_layers - HEADS), model.cfg.n_layers)
    return torch.stack([head_weights(model, layer, name)[-1 - layer % model.cfg.n_heads] for layer in layers])


def _vocabulary(model: Any) -> tuple[Float[Tensor, "row d_model"], Float[Tensor, "d_model row"]]:
    W_E, W_U = model.embed.W_E.detach().double(), model.unembed.W_U.detach().double()
    n_rows = min(len(W_E), W_U.shape[-1])
    rows = torch.randperm(n_rows, generator=torch.Generator().manual_seed(0))[:ROWS].to(W_E.device)
    return W_E[rows], W_U[:, rows]


def spectrum_off_the_full_circuit(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The distance of the d_head x d_head eigenvalues from those of W_E W_V W_O W_U, and of traces of its powers."""
    W_E, W_U = _vocabulary(model)
    errors = []
    for W_V, W_O in zip(_heads(model, "W_V"), _heads(model, "W_O"), strict=True):
        short = product_eigenvalues(W_E @ W_V, W_O @ W_U)
        full = W_E @ (W_V @ W_O) @ W_U
        long = torch.linalg.eigvals(full)
        largest = float(long.abs().max()) or 1.0
        distance = (short[:, None] - torch.cat([long, long.new_zeros(1)])[None]).abs()
        back = (long[:, None] - torch.cat([short, short.new_zeros(1)])[None]).abs()
        errors += [float(distance.amin(dim=1).max()) / largest, float(back.amin(dim=1).max()) / largest]
        power = full
        for exponent in (1, 2, 3):
            scale = float(long.abs().pow(exponent).sum()) or 1.0
            errors.append(abs(float(power.trace()) - float(short.pow(exponent).sum().real)) / scale)
            power = power @ full
    return worst(errors)


def copying_off_one(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """|1 - copying score| of heads that write what they read, before an unembedding that is the embedding."""
    W_E, _ = _vocabulary(model)
    W_V = _heads(model, "W_V")
    scores = copying_scores(W_E, W_V, W_V.mT.contiguous(), W_E.T.contiguous(), n_null=2).score
    # A head of zeros has no score to be wrong.
    return worst(float(abs(1 - score)) for score, weight in zip(scores, W_V, strict=True) if weight.any())


def _reading(model: Any) -> dict[str, tuple[Tensor, Tensor]]:
    W_Q, W_K, W_V, W_O = (_heads(model, name) for name in ("W_Q", "W_K", "W_V", "W_O"))
    return {"Q": (W_Q, W_K.mT), "K": (W_K, W_Q.mT), "V": (W_V, W_O)}


def composition_off_the_full_matrices(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the composition scores from |W_OV W| / (|W_OV| |W|) of d_model x d_model matrices."""
    W_V, W_O = _heads(model, "W_V"), _heads(model, "W_O")
    written = W_V @ W_O
    errors = []
    for left, right in _reading(model).values():
        read = left @ right
        product = torch.linalg.matrix_norm(written[:, None] @ read[None])
        expected = product / (torch.linalg.matrix_norm(written)[:, None] * torch.linalg.matrix_norm(read))
        errors.append(deviation(composition_scores(W_V, W_O, left, right).score, expected))
    return worst(errors)


def composition_off_chance(model: Any, tokens: Int[Tensor, "batch pos"]) -> Bounded:
    """|mean z| of composition scores between heads turned against one another at random, where it must be 0."""
    W_V, W_O = (weight[-1:] for weight in (_heads(model, "W_V"), _heads(model, "W_O")))
    left, right = (weight[-1:] for weight in _reading(model)["Q"])
    generator, n_turns = torch.Generator().manual_seed(0), 64
    d_model = W_V.shape[1]
    turned = []
    for _ in range(n_turns):
        rotation, triangle = torch.linalg.qr(torch.randn(d_model, d_model, generator=generator, dtype=torch.float64))
        # The signs make the rotation uniform (Mezzadri, 2007).
        turned.append(W_O[0] @ (rotation * triangle.diagonal().sign()).to(W_O))
    scores = composition_scores(W_V.expand(n_turns, -1, -1), torch.stack(turned), left, right)
    # z is standardised with the exact variance: over n turns its mean is 0 within 1 / sqrt(n).
    return Bounded(abs(float(scores.z.mean())), 5 / math.sqrt(n_turns))


def no_direction(model: Any) -> str | None:
    """The obstacle of heads that read or write nothing, or of a stream of one number, which nothing can turn."""
    if model.cfg.d_model < 3:
        return f"a stream of {model.cfg.d_model} leaves rotations no room"
    obstacle = other_names(model)
    if obstacle is None and any(
        not head.any() for name in ("W_Q", "W_K", "W_V", "W_O") for head in _heads(model, name)
    ):
        return "a head has a matrix of zeros, which composes with nothing"
    return obstacle


def scores_off_in_another_gauge(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of composition and copying scores when each head's inner basis is another."""
    W_E, W_U = _vocabulary(model)
    W_V, W_O = _heads(model, "W_V"), _heads(model, "W_O")
    generator = torch.Generator().manual_seed(0)
    shape = (len(W_V), W_V.shape[-1], W_V.shape[-1])
    rotation, _ = torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64))
    G = (rotation * (0.5 * 4 ** torch.rand(len(W_V), 1, shape[-1], generator=generator, dtype=torch.float64))).to(W_V)
    back = torch.linalg.inv(G)
    copying = [copying_scores(W_E, v, o, W_U, n_null=2).score for v, o in ((W_V, W_O), (W_V @ G, back @ W_O))]
    errors = [deviation(copying[1], copying[0])]
    for left, right in _reading(model).values():
        plain = composition_scores(W_V, W_O, left, right).score
        errors.append(deviation(composition_scores(W_V @ G, back @ W_O, left @ G, back @ right).score, plain))
    return worst(errors)


INVARIANTS = (
    Invariant(
        "eigen-trick", "the full OV circuit has the eigenvalues of its d_head x d_head turn-around, and zeros",
        spectrum_off_the_full_circuit, EIGENVALUES, other_names,
    ),
    Invariant(
        "copying-one", "a head that writes what it reads, under tied embeddings, has a copying score of 1",
        copying_off_one, EIGENVALUES, other_names,
    ),
    Invariant(
        "composition-norm", "composition scores from d_head x d_head products are those of the full matrices",
        composition_off_the_full_matrices, obstacle=no_direction,
    ),
    Invariant(
        "composition-null", "heads turned at random compose with strength 1 / sqrt(d_model)",
        composition_off_chance, SAMPLING, no_direction,
    ),
    Invariant(
        "gauge-scores", "composition and copying scores do not depend on a head's inner basis",
        scores_off_in_another_gauge, EIGENVALUES, no_direction,
    ),
)  # fmt: skip
