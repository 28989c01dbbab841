"""Ours against recordings of TransformerLens 3.9.0's HookedTransformer, made by `python -m tests.parity.record`."""

from collections.abc import Callable

import pytest
from transformer_lens import TransformerLensKeyValueCache

from models import HookedTransformer, HookedTransformerConfig

from .comparison import TOLERANCE, expected_firing, largest_difference
from .configurations import CONFIGURATIONS, Configuration
from .observations import Side, observe
from .storage import RECORDED, read

OURS = Side(HookedTransformerConfig, HookedTransformer, TransformerLensKeyValueCache)


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda configuration: configuration.name)
def test_every_observation_equals_the_recorded_one(
    configuration: Configuration, record_property: Callable[[str, object], None]
) -> None:
    theirs = read(RECORDED / f"{configuration.name}.npz")
    ours = observe(OURS, configuration)
    assert ours.firing == expected_firing(theirs, configuration)
    difference, name = largest_difference(ours, theirs)
    record_property("largest difference", difference)
    print(f"{configuration.name}: {len(ours.arrays)} arrays, largest difference {difference:.1e} in {name!r}")
    assert difference < TOLERANCE, name
