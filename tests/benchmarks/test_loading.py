"""The loading benchmark: what its own process may hold, and how it divides."""

import subprocess
import sys

from benchmarks.loading import WAYS, report


def test_the_process_that_starts_the_others_holds_no_model() -> None:
    # A child's peak memory begins with what its parent holds.
    program = "import sys, benchmarks.loading; print(sorted({'torch', 'models', 'transformers'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    names = ("import", "load", "first logits", "all", "weights", "peak before", "peak loaded", "peak", "copies")
    # Ours takes 1, 2 and 5 seconds, the bridge 4, 6 and 10: the ratios are 4, 3 and 2.
    rounds = [
        {way: dict.fromkeys(names, float(ours if "ours" in way else bridge)) for way in WAYS}
        for ours, bridge in ((1, 4), (2, 6), (5, 10))
    ]
    table = report(rounds, 0.25, "bfloat16")
    assert [list(column.cells) for column in table.columns[-2:]] == [["1.00", "3.00"] * 4] * 2
    assert list(table.columns[2].cells) == ["2.00", "6.00"] * 4
    assert "bfloat16, 3 rounds" in str(table.title)
    assert "0.25" in str(table.title)
