"""The page of metrics and results names what there is."""

import re
from pathlib import Path

import interp.metrics
from interp.effects import Effects
from interp.metrics import Metric

PAGE = (Path(__file__).parents[1] / "docs" / "sweeps.md").read_text()


def first_cells(heading: str) -> list[str]:
    """The code in the first cells of the table below a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]


def test_every_metric_has_a_row():
    kinds = [kind for kind in vars(interp.metrics).values() if isinstance(kind, type) and issubclass(kind, Metric)]
    assert sorted(first_cells("Metrics")) == sorted(kind.__name__ for kind in kinds if kind is not Metric)


def test_what_the_page_says_a_result_holds_it_holds():
    named = first_cells("What a result holds")
    assert len(named) > 10
    known = {*vars(Effects), *Effects.__dataclass_fields__}
    assert [name for name in named if name.split(".")[0] not in known] == []
