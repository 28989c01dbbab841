"""Derivatives against differences: what a gradient promises about the next run.

Sources: Sundararajan, Taly and Yan (2017), completeness of integrated gradients; Nanda (2023), attribution patching.
"""

import math
import warnings
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from jaxtyping import Float, Int
from torch import Tensor

from ..hooks import Edit, edited
from .invariant import DTYPES, ROUNDING, Bounded, Invariant, NothingToMeasureError, Tolerance
from .linearised import START, read_out
from .reading import activations, not_double, other_tokens, sixteen_bit

SLOPE = Tolerance(
    "the order at which the remainder falls, at the best of three sizes; terms of third order, rounding or kinks of "
    "a ReLU leave about 1e-3, a wrong gradient leaves 1",
    dict.fromkeys(DTYPES, 0.05),
)

QUADRATURE = Tolerance(
    "rounding, or where that is more ten times what the integral's panels change by from 20 to 40 points; at kinks of "
    "a ReLU that change is the size of the error and no bound, hence the ten",
    ROUNDING.by_dtype,
)

CONVERGED = 1e-2
"""A larger relative change from 20 to 40 points makes the integral no measure of anything."""

LENGTH = 4
"""Positions of the integral's prompt: it takes some hundred runs."""


def _metric(model: Any, tokens: Int[Tensor, "batch pos"], stream: Float[Tensor, "batch pos d_model"]) -> Tensor:
    # The first stream's values in place of the model's own: one number for each row of the batch.
    with edited(model, {START: lambda x: stream}, allow_nonfinite=True):
        logits = model(tokens)
    return (logits * read_out(logits)).sum(dim=(-2, -1))


@torch.enable_grad()
def _with_gradient(model: Any, tokens: Tensor, stream: Tensor) -> tuple[Tensor, Tensor]:
    stream = stream.detach().requires_grad_()
    values = _metric(model, tokens, stream)
    return values.detach(), torch.autograd.grad(values.sum(), stream)[0]


def _ends(model: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The first streams of the first prompt and of another in its place."""
    one = tokens[:1]
    return tuple(activations(model, given, [START])[START][0] for given in (one, other_tokens(model, one)))  # type: ignore[return-value]


def order_off_two(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """|order - 2| at which what attribution patching leaves over falls with the size of the patch."""
    clean, corrupted = _ends(model, tokens)
    # One position, so that few neurons can cross a kink.
    direction = torch.zeros_like(clean)
    direction[:, -1] = (corrupted - clean)[:, -1]
    value, gradient = _with_gradient(model, tokens[:1], clean)
    slope, best = float((gradient * direction).sum()), math.inf
    for exponent in (-10, -13, -16):
        sizes = torch.tensor([2.0 ** (exponent - halving) for halving in range(3)], dtype=clean.dtype)
        streams = clean + sizes.to(clean)[:, None, None] * direction
        exact = _metric(model, tokens[:1].expand(3, -1), streams) - value
        left = (exact.cpu() - sizes * slope).abs()
        if float(left[0]) <= 1e-13 * float(value.abs().max()):
            # Nothing is left over but rounding: the model is linear along this direction, and the gradient is right.
            return 0.0 if exponent == -10 else best
        best = min(best, float((torch.log2(left[:-1] / left[1:]) - 2).abs().max()))
    return best


def integral_off_the_difference(model: Any, tokens: Int[Tensor, "batch pos"]) -> Bounded:
    """The deviation of the gradient integrated along the line between two streams from m(corrupted) - m(clean)."""
    tokens = tokens[:1, :LENGTH]
    clean, corrupted = _ends(model, tokens)
    ends = _metric(model, tokens.expand(2, -1), torch.cat([clean, corrupted])).double()
    promised = float(ends[1] - ends[0])
    scale = max(float(ends.abs().max()), abs(promised))
    # More panels only where a curved or kinked line needs them: each costs sixty runs.
    for n_panels in (1, 4):
        coarse, fine = (_panels(model, tokens, clean, corrupted, n_panels, n_points) for n_points in (20, 40))
        # Panel by panel, so that one's change cannot hide another's.
        change = float((fine - coarse).abs().sum()) / scale
        if change <= ROUNDING.by_dtype[model.cfg.dtype]:
            break
    if change > CONVERGED:
        raise NothingToMeasureError(f"the integral still changes by {change:.0e} from 20 to 40 points a panel")
    return Bounded(abs(float(fine.sum()) - promised) / scale, 10 * change)


def _panels(
    model: Any, tokens: Tensor, clean: Tensor, corrupted: Tensor, n_panels: int, n_points: int
) -> Float[Tensor, " panel"]:
    """The integral over each of the equal parts of the line."""
    at, weights = _gauss_legendre(n_points)
    parts, difference = [], corrupted - clean
    for panel in range(n_panels):
        places = ((panel + at) / n_panels).to(clean)
        _, gradients = _with_gradient(model, tokens.expand(n_points, -1), clean + places[:, None, None] * difference)
        along = (gradients.double() * difference.double()).sum(dim=(-2, -1)).cpu()
        parts.append((weights * along).sum() / n_panels)
    return torch.stack(parts)


def _gauss_legendre(n_points: int) -> tuple[Float[Tensor, " point"], Float[Tensor, " point"]]:
    """Points and weights on [0, 1], from the eigenvalues of Legendre's recurrence (Golub and Welsch, 1969)."""
    k = torch.arange(1, n_points, dtype=torch.float64)
    off = k / (4 * k * k - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return (values + 1) / 2, vectors[0].square()


def duality_off(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of <g, J v> in forward mode from <J^T g, v> in reverse mode."""
    clean, corrupted = _ends(model, tokens)
    direction = corrupted - clean
    _, gradient = _with_gradient(model, tokens[:1], clean)
    with forward_ad.dual_level(), warnings.catch_warnings():
        # PyTorch's own use of torch.jit, which it loads for operations without a forward mode of their own.
        warnings.simplefilter("ignore", DeprecationWarning)
        dual = forward_ad.make_dual(clean, direction)
        # Fused kernels have no forward mode: what they would skip is looked at, so that they are not taken.
        ends = (".hook_pattern", ".hook_scale")
        looked: dict[str, Edit] = {name: _same for name in model.hook_dict if name.endswith(ends)}
        try:
            with edited(model, {**looked, START: lambda x: dual}, allow_nonfinite=True):
                logits = model(tokens[:1])
        except NotImplementedError as error:
            raise NothingToMeasureError(f"an operation of the model has no forward mode: {error}") from error
        tangent = forward_ad.unpack_dual(logits).tangent
    if tangent is None:
        raise NothingToMeasureError("the model's forward mode gives no derivative")
    forward = tangent.double() * read_out(tangent).double()
    backward = gradient.double() * direction.double()
    # As a share of what is summed: the sums themselves may happen to be near zero.
    return float((forward.sum() - backward.sum()).abs() / backward.abs().sum().clamp(min=1e-300))


def _same(activation: Tensor) -> Tensor:
    return activation


INVARIANTS = (
    Invariant(
        "atp-order", "what attribution patching leaves over falls with the square of the patch's size",
        order_off_two, SLOPE, not_double,
    ),
    Invariant(
        "integrated-gradients", "the gradient integrated from clean to corrupted stream is m(corrupted) - m(clean)",
        integral_off_the_difference, QUADRATURE, sixteen_bit,
    ),
    Invariant(
        "duality", "<g, J v> of forward-mode differentiation is <J^T g, v> of reverse mode", duality_off,
        obstacle=sixteen_bit,
    ),
)  # fmt: skip
