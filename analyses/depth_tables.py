"""The tables of depth."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.statistics import Estimate, over_prompts, over_seeds

from .depth_measures import MEASURES, Depth

GIVEN, FRESH = "the model", "freshly initialised"
AVERAGED, AVERAGED_ALONE = "only averaging, with skip", "only averaging, no skip"


def places(n_layers: int) -> list[str]:
    """The places between blocks, by what they come after."""
    return ["embedding", *(f"block {layer}" for layer in range(n_layers))]


def likeness_table(
    given: Depth, fresh: Sequence[Depth], averaged: dict[str, Float[Tensor, "measure place prompt"]]
) -> pd.DataFrame:
    """Each measure by weights and place: over prompts, for fresh weights over draws."""
    runs = {GIVEN: over_prompts(given.likeness.movedim(-1, 0))}
    runs[FRESH] = over_seeds(torch.stack([run.likeness.mean(dim=-1) for run in fresh]))
    runs |= {name: over_prompts(values.movedim(-1, 0)) for name, values in averaged.items()}
    return pd.concat([_likeness_rows(name, estimate) for name, estimate in runs.items()], ignore_index=True)


def _likeness_rows(weights: str, estimate: Estimate) -> pd.DataFrame:
    frame: dict[str, object] = {"weights": weights, "after": places(estimate.mean.shape[1] - 1)}
    for at, measure in enumerate(MEASURES):
        frame |= _with_ends(measure, estimate, at)
    return pd.DataFrame(frame)


def stream_table(given: Depth, fresh: Sequence[Depth], post_norm: bool) -> pd.DataFrame:
    """The length of the stream, what the law of initialisation makes of it, and the gradient, by weights and place."""
    columns = [_of_the_stream(run) for run in (given, *fresh)]
    runs = {GIVEN: over_prompts(columns[0]), FRESH: over_seeds(torch.stack([run.mean(dim=0) for run in columns[1:]]))}
    names = ("length", "length_at_right_angles", "gradient_over_the_last")
    frames = []
    for weights, estimate in runs.items():
        frame: dict[str, object] = {"weights": weights, "after": places(estimate.mean.shape[1] - 1)}
        for at, name in enumerate(names):
            frame |= _with_ends(name, estimate, at)
        frames.append(pd.DataFrame(frame))
    table = pd.concat(frames, ignore_index=True)
    if post_norm:
        # A norm stands between what is written and the stream: no sum, and nothing that could add up.
        table[[name for name in table if "right_angles" in str(name)]] = float("nan")
    return table


def _of_the_stream(run: Depth) -> Float[Tensor, "prompt number place"]:
    growth = run.growth
    lengths = (growth.squared_length.sqrt(), growth.independent.sqrt(), run.gradient.cpu())
    return torch.stack([values.cpu() for values in lengths]).movedim(-1, 0)


def block_table(
    given: Depth,
    fresh: Sequence[Depth],
    increase: Float[Tensor, "layer prompt"],
    divergence: Float[Tensor, "layer prompt"],
) -> pd.DataFrame:
    """What each block writes, in which direction, and what is lost when it is left out."""
    columns = {
        "written": given.growth.written.sqrt(),
        "alignment": given.growth.alignment,
        "loss_increase_nats": increase,
        "kl_nats": divergence,
    }
    frame: dict[str, object] = {"block": range(len(increase))}
    estimate = over_prompts(torch.stack([values.cpu() for values in columns.values()]).movedim(-1, 0))
    for at, name in enumerate(columns):
        frame |= _with_ends(name, estimate, at)
    at_random = over_seeds(torch.stack([run.growth.alignment.mean(dim=-1).cpu() for run in fresh]))
    frame |= _with_ends("fresh_alignment", Estimate(*(end[None] for end in vars(at_random).values())), 0)
    return pd.DataFrame(frame)


def _with_ends(name: str, estimate: Estimate, at: int) -> dict[str, object]:
    return {
        name: estimate.mean[at].numpy(force=True),
        f"{name}_low": estimate.low[at].numpy(force=True),
        f"{name}_high": estimate.high[at].numpy(force=True),
    }
