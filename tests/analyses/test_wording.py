"""Pieces of sentences: lists read as lists, and an interval stands only where one is known."""

import math

import pandas as pd
import pytest

from analyses.wording import between, listed


@pytest.mark.parametrize(("parts", "said"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_a_list_reads_as_one(parts, said):
    assert listed(parts) == said


def test_an_interval_stands_where_one_is_known():
    known = pd.Series({"x": 1.234, "x_low": 1.0, "x_high": 1.5})
    assert between(known, "x") == "1.23 (1.00 to 1.50)"
    assert between(known, "x", ".0%") == "123% (100% to 150%)"
    unknown = pd.Series({"x": 1.234, "x_low": math.nan, "x_high": math.nan})
    assert between(unknown, "x") == "1.23"
