"""At a glance: activations and weights in the numbers that tell a healthy model from a sick one."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from interp.invariants.invariant import ROUNDING
from models import HookedTransformer

from .at_a_glance_figures import dimension_figure, entropy_figure, firing_figure, length_figure, weight_figure
from .at_a_glance_measures import Glance, glance
from .at_a_glance_tables import gain_table, head_table, neuron_table, stream_table, weight_table, write_table
from .at_a_glance_verdict import verdict
from .result import Identity, Result

_WHAT_IT_IS = (
    "Before any hypothesis: how long is the stream, and how long is what each layer adds to it? How evenly does each "
    "head look? Does every neuron ever fire? Are there dimensions, or single numbers, far larger than all others? "
    "How many directions do the matrices use? Each number stands beside what it is where nothing is special: the "
    "entropy beside ln n, kurtosis beside the 3 of normal numbers, effective rank beside a random matrix's."
)
_HOW_TO_READ = (
    "Intervals are 95 % over prompts. A head's entropy is compared with ln n row by row, rows that see one key left "
    "out. A neuron with ReLU fires above 0; a smooth activation function is hardly ever exactly 0, so there it counts "
    "as firing above a hundredth of its layer's root mean square. A neuron that did not fire here may fire elsewhere: "
    "the bound beside it says how often. One long write is not yet an important one, and an outlier dimension may be "
    "no more than an offset that the norms take out again. Matrices are read as they are stored, norms not folded."
)
_SOURCE = (
    "Elhage et al. (2023), privileged bases; Dettmers et al. (2022), outlier dimensions; Sun et al. (2024), massive "
    "activations; Roy and Vetterli (2007), effective rank; Hanley and Lippman-Hand (1983), the rule of three."
)


@dataclass(frozen=True)
class Options:
    """What counts as an outlier."""

    outlier: float = field(default=6.0, metadata={"help": "A dimension this many times the median one is an outlier."})

    def __post_init__(self) -> None:
        if not 1 < self.outlier < float("inf"):
            raise ValueError(f"outlier={self.outlier} must be a number above 1")


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """Lengths, attention entropy, neurons, dimensions, weights and norm weights.

    Raises:
        NonFiniteError: an activation that is not finite.
    """
    seen = glance(model, tokens)
    weights, weight_error = weight_table(model)
    tables = {
        "Stream": stream_table(seen, tokens.numel() * model.cfg.d_model, options.outlier),
        "Writes": write_table(seen),
        "Heads": head_table(model, seen),
        "Weights": weights,
    }
    figures = {
        "Lengths of the stream and of what is written": length_figure(tables["Stream"], tables["Writes"]),
        "Entropy of attention": entropy_figure(tables["Heads"], model.cfg.n_layers),
        "Sizes of the dimensions": dimension_figure(seen, tables["Stream"], options.outlier),
    }
    if seen.firing:
        tables["Neurons"] = neuron_table(seen, len(tokens))
        figures["How often neurons fire"] = firing_figure(seen)
    figures["Effective rank of the weights"] = weight_figure(weights)
    gains = gain_table(model)
    if len(gains):
        tables["Norms"] = gains
    return Result(
        name="at-a-glance",
        title="Activations and weights at a glance",
        question="How large are activations and weights, how even is attention, and does anything stand out?",
        verdict=verdict(model, tables, options.outlier, len(tokens)),
        numbers=_numbers(tables),
        tables=tables,
        figures=figures,
        identities=_identities(model, seen, weight_error),
        what_it_is=_WHAT_IT_IS,
        how_to_read=_HOW_TO_READ,
        source=_SOURCE,
    )


def _numbers(tables: dict[str, pd.DataFrame]) -> dict[str, float | int | str]:
    streams, writes, heads, weights = (tables[name] for name in ("Stream", "Writes", "Heads", "Weights"))
    most = writes.loc[writes["over_what_it_read"].idxmax()]
    numbers: dict[str, float | int | str] = {
        "length_of_the_stream_at_the_end": float(streams["length"].iloc[-1]),
        "branch_that_writes_most": str(most["branch"]),
        "outlier_dimensions": int(streams["outlier_dimensions"].max()),
        "largest_kurtosis": float(streams["kurtosis"].max()),
        "median_effective_rank_share_of_random": float(weights["share_of_random"].median()),
    }
    known = heads.dropna(subset=["entropy_share"])
    if len(known):
        sharpest = known.loc[known["entropy_share"].idxmin()]
        numbers |= {
            "sharpest_head": str(sharpest["head"]),
            "its_entropy_share_of_ln_n": float(sharpest["entropy_share"]),
        }
    if "Neurons" in tables:
        numbers["neurons_that_never_fired"] = int(tables["Neurons"]["never_fired"].sum())
    return numbers


def _identities(model: HookedTransformer, seen: Glance, weight_error: float) -> list[Identity]:
    float64, rounding = ROUNDING.by_dtype[torch.float64], ROUNDING.by_dtype[model.cfg.dtype]
    sizes_error = max(place.squares_error for place in seen.places)
    found = [
        Identity("the squared sizes of the dimensions sum to the mean |x|^2", sizes_error, float64),
        Identity("ln n less the entropy is the divergence from uniform, row by row", seen.entropy_error, float64),
        Identity("the squared singular values of every matrix sum to its squared norm", weight_error, float64),
    ]
    if seen.sum_error is not None:
        found.append(
            Identity("the stream behind a block is the stream before it plus the writes", seen.sum_error, rounding)
        )
    return found
