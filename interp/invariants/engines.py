"""The exact engine beside the plain one: the same effects, from packed rows and from one hooked pass a cell."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor

from ..engine.support import why_not
from ..errors import DegenerateBaselineError
from ..metrics import LogitDifference
from ..sites import sites
from ..sweep import sweep
from .invariant import DTYPES, Invariant, NothingToMeasureError, Tolerance
from .reading import deviation, other_tokens, sixteen_bit, worst

SWEPT = {
    "resid_pre": ("blocks.*.hook_resid_pre", ("layer", "pos")),
    "heads": ("blocks.*.attn.hook_z", ("layer", "head")),
    "keys": ("blocks.*.attn.hook_k", ("layer",)),
    "patterns": ("blocks.*.attn.hook_pattern", ("layer", "head", "query")),
}

SOME = 4
"""So many layers, and heads of each, are run the plain way, which takes a forward pass for each cell."""

TOLERANCE = Tolerance(
    "relative to the largest value; products of other sizes are summed in another order, through all blocks",
    dict(zip(DTYPES, (1e-10, 1e-3, 3e-2, 2e-1), strict=True)),
)


def _no_engine(model: Any) -> str | None:
    obstacle = sixteen_bit(model)
    if obstacle is not None:
        return obstacle
    return why_not(model, [(one.at(),) for one in sites(model, "blocks.*.hook_resid_pre")], ())


def engines_apart(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The difference between the engines, for streams, heads, keys and patterns patched between two prompts.

    Of a large model the exact engine runs every cell, and the plain one those of some layers and heads.
    """
    other = other_tokens(model, tokens)
    gap = (model(tokens) - model(other))[:, -1]
    if gap.shape[-1] < 2:
        raise NothingToMeasureError("a vocabulary of one token has no logit difference")
    metric = LogitDifference(gap.argmax(dim=-1), gap.argmin(dim=-1))
    some = sorted({0, tokens.shape[1] // 2, tokens.shape[1] - 1})
    return worst(
        _apart(model, tokens, other, point, over, metric, {axis: some for axis in over if axis in ("pos", "query")})
        for point, over in SWEPT.values()
    )


def _apart(
    model: Any,
    clean: Tensor,
    corrupted: Tensor,
    point: str,
    over: Sequence[str],
    metric: LogitDifference,
    only: Mapping[str, Sequence[int]],
) -> float:
    few = _spread(model.cfg.n_heads)
    heads = {"head": few} if "head" in over else {}
    try:
        exact = sweep(
            model, clean, corrupted, point, over, metric,
            direction="denoising", only=only, engine="wavefront", progress=False,
        )  # fmt: skip
        plain = sweep(
            model, clean, corrupted, point, over, metric, direction="denoising", only={**only, **heads},
            layers=_spread(model.cfg.n_layers), engine="hooks", progress=False,
        )  # fmt: skip
    except DegenerateBaselineError as error:
        raise NothingToMeasureError(f"the runs cannot be told apart: {error}") from error
    place = {cell: at for at, cell in enumerate(exact.cells)}
    same = exact.values.flatten(1)[:, [place[cell] for cell in plain.cells]]
    return deviation(same, plain.values.flatten(1))


def _spread(size: int) -> list[int]:
    """All of few, and otherwise some of them, the first and the last included."""
    return sorted({at * (size - 1) // (SOME - 1) for at in range(SOME)})


INVARIANTS = (
    Invariant(
        "engines-agree", "the exact engine gives the effects that one hooked forward pass a cell gives",
        engines_apart, TOLERANCE, obstacle=_no_engine,
    ),
)  # fmt: skip
