"""Two sets of observations compared, and what TransformerLens does that is deliberately not kept."""

import numpy as np

from .configurations import Configuration
from .observations import Observations

TOLERANCE = 1e-10
SUMMED_IN_FLOAT32 = "bias before"
"""TransformerLens' `accumulated_bias` adds float64 biases in float32; ours does not, so they differ in digit seven."""


def largest_difference(ours: Observations, theirs: Observations) -> tuple[float, str]:
    """The largest absolute difference over all arrays, and the name it stands under.

    Raises:
        AssertionError: a name that one of the two lacks, a shape that differs, a NaN, infinities at other places.
    """
    missing, surplus = theirs.arrays.keys() - ours.arrays.keys(), ours.arrays.keys() - theirs.arrays.keys()
    assert not missing, f"ours lacks {sorted(missing)}"
    assert not surplus, f"ours has {sorted(surplus)}, which TransformerLens has not"
    differences = {name: _difference(name, ours.arrays[name], theirs.arrays[name]) for name in theirs.arrays}
    for name in [name for name in differences if name.startswith(SUMMED_IN_FLOAT32)]:
        assert differences.pop(name) < 1e-6, name
    worst = max(differences, key=differences.__getitem__)
    return differences[worst], worst


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape, f"{name}: ours has shape {ours.shape}, TransformerLens {theirs.shape}"
    assert not np.isnan(ours).any(), f"{name}: ours has NaN"
    assert not np.isnan(theirs).any(), f"{name}: TransformerLens has NaN"
    infinite = np.isinf(theirs)
    assert np.array_equal(np.where(infinite, theirs, 0.0), np.where(np.isinf(ours), ours, 0.0)), f"{name}: infinities"
    return float(np.abs(np.where(infinite, 0.0, ours) - np.where(infinite, 0.0, theirs)).max(initial=0.0))


def expected_firing(theirs: Observations, configuration: Configuration) -> list[str]:
    """The order in which our points fire: TransformerLens', with `ln1` once where its input is one and the same.

    TransformerLens runs `ln1` three times, for queries, keys and values, even where they read the same stream.
    """
    if configuration.config.get("use_split_qkv_input"):
        return theirs.firing
    repeated = {place for place, name in enumerate(theirs.firing) if ".ln1." in name and name in theirs.firing[:place]}
    return [name for place, name in enumerate(theirs.firing) if place not in repeated]
