"""The tables of the glance, each number beside what it is where nothing is special."""

from collections.abc import Iterator
from functools import cache

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.activation_statistics import (
    GAUSSIAN_KURTOSIS,
    highest_rate_of_the_silent,
    normal_largest_over_median,
    outliers,
)
from interp.low_rank import effective_rank, product_norm, product_singular_values
from interp.statistics import over_prompts
from interp.weight_spectra import Spectrum, random_rank, spectrum
from models import HookedTransformer

from .at_a_glance_measures import Glance
from .labels import stream_label


def stream_table(seen: Glance, n_numbers: int, times: float) -> pd.DataFrame:
    """The stream at each place: its length, its tails, and the dimensions that stand out."""
    length = over_prompts(torch.stack([place.length for place in seen.places], dim=1).cpu())
    tails = over_prompts(torch.stack([place.kurtosis for place in seen.places], dim=1).cpu())
    largest = [int(place.sizes.argmax()) for place in seen.places]
    return pd.DataFrame(
        {
            "place": [stream_label(place.name) for place in seen.places],
            "length": length.mean.numpy(),
            "length_low": length.low.numpy(),
            "length_high": length.high.numpy(),
            "kurtosis": tails.mean.numpy(),
            "kurtosis_low": tails.low.numpy(),
            "kurtosis_high": tails.high.numpy(),
            "kurtosis_of_normal_numbers": GAUSSIAN_KURTOSIS,
            "outlier_dimensions": [int(outliers(place.sizes, times).sum()) for place in seen.places],
            "largest_dimension": largest,
            "it_over_the_median_dimension": [float(p.sizes.max() / p.sizes.median()) for p in seen.places],
            "largest_number_over_the_median": [place.largest for place in seen.places],
            "of_as_many_normal_numbers": normal_largest_over_median(n_numbers),
        }
    )


def write_table(seen: Glance) -> pd.DataFrame:
    """How long each branch's write is, and how long against the stream it read."""
    length = over_prompts(torch.stack([lengths for _, lengths, _ in seen.writes], dim=1).cpu())
    ratio = over_prompts(torch.stack([ratios for _, _, ratios in seen.writes], dim=1).cpu())
    return pd.DataFrame(
        {
            "branch": [branch.label for branch, _, _ in seen.writes],
            "length": length.mean.numpy(),
            "length_low": length.low.numpy(),
            "length_high": length.high.numpy(),
            "over_what_it_read": ratio.mean.numpy(),
            "over_what_it_read_low": ratio.low.numpy(),
            "over_what_it_read_high": ratio.high.numpy(),
        }
    )


def head_table(model: HookedTransformer, seen: Glance) -> pd.DataFrame:
    """Each head: how even its attention is, and the size and effective rank of its two circuits as they are stored."""
    entropy = over_prompts(seen.entropy.transpose(0, 1).flatten(1).cpu())
    rows = []
    for layer, block in enumerate(model.blocks):
        attention = block.attn
        circuits = ((attention.W_Q, attention.W_K.mT), (attention.W_V, attention.W_O))
        norms = [product_norm(left, right) for left, right in circuits]
        ranks = [effective_rank(product_singular_values(left, right)) for left, right in circuits]
        rows += [
            {
                "head": f"L{layer}H{head}",
                "qk_norm": float(norms[0][head]),
                "qk_effective_rank": float(ranks[0][head]),
                "ov_norm": float(norms[1][head]),
                "ov_effective_rank": float(ranks[1][head]),
            }
            for head in range(model.cfg.n_heads)
        ]
    table = pd.DataFrame(rows)
    for at, (name, values) in enumerate(
        (("entropy_share", entropy.mean), ("entropy_share_low", entropy.low), ("entropy_share_high", entropy.high))
    ):
        table.insert(1 + at, name, values.numpy())
    return table


def neuron_table(seen: Glance, n_prompts: int) -> pd.DataFrame:
    """Each layer's neurons: how many never fired on how many tokens, and how often those may fire at most."""
    return pd.DataFrame(
        {
            "layer": range(len(seen.firing)),
            "neurons": [len(layer.rate) for layer in seen.firing],
            "never_fired": [int(layer.dead.sum()) for layer in seen.firing],
            "median_rate": [float(layer.rate.median()) for layer in seen.firing],
            "fire_on_every_token": [int((layer.rate == 1).sum()) for layer in seen.firing],
            "threshold": [layer.threshold for layer in seen.firing],
            "tokens": [layer.n_tokens for layer in seen.firing],
            "silent_ones_fire_on_at_most": [highest_rate_of_the_silent(layer.n_tokens) for layer in seen.firing],
            "and_in_prompts_at_most": highest_rate_of_the_silent(n_prompts),
        }
    )


def weight_table(model: HookedTransformer) -> tuple[pd.DataFrame, float]:
    """Each matrix in numbers beside a random one of its shape, and the largest error of its spectrum's identity."""
    rows, worst = [], 0.0
    for layer, name, matrix in matrices(model):
        found = spectrum(matrix)
        worst = max(worst, found.identity_error)
        rows.append(_weight_row(layer, name, matrix, found))
    return pd.DataFrame(rows), worst


def matrices(model: HookedTransformer) -> Iterator[tuple[int | None, str, Float[Tensor, "rows columns"]]]:
    """Every matrix of the model by layer and name; a layer's heads side by side, one matrix from or to the stream."""
    for name, parameter in model.named_parameters():
        leaf = name.rpartition(".")[2].lstrip("_")
        if not leaf.startswith("W_"):
            continue
        layer = int(name.split(".")[1]) if name.startswith("blocks.") else None
        if parameter.ndim == 3:
            matrix = parameter.flatten(0, 1) if leaf == "W_O" else parameter.transpose(0, 1).flatten(1)
        else:
            matrix = parameter
        yield layer, leaf, matrix.detach()


def _weight_row(layer: int | None, name: str, matrix: Tensor, found: Spectrum) -> dict[str, object]:
    rows, columns = matrix.shape
    at_random = _random_rank(rows, columns)
    return {
        "layer": "" if layer is None else str(layer),
        "matrix": name,
        "rows": rows,
        "columns": columns,
        "root_mean_square": found.norm / (rows * columns) ** 0.5,
        "largest_singular_value": found.largest,
        "effective_rank": found.rank,
        "of_a_random_matrix": at_random,
        "share_of_random": found.rank / at_random,
    }


_random_rank = cache(random_rank)


def gain_table(model: HookedTransformer) -> pd.DataFrame:
    """The learned weights of each norm; 1 before training (ScaleNorm's single number is a length)."""
    rows = [
        {
            "norm": name.removesuffix(".w").removeprefix("blocks."),
            "weights": weight.numel(),
            "median": float(weight.double().median()),
            "smallest": float(weight.double().min()),
            "largest": float(weight.double().max()),
        }
        for name, weight in _gains(model)
    ]
    return pd.DataFrame(rows)


def _gains(model: HookedTransformer) -> list[tuple[str, Tensor]]:
    return [(name, parameter.detach()) for name, parameter in model.named_parameters() if name.endswith(".w")]
