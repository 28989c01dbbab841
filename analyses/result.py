"""What every analysis returns: numbers, tables, figures and a verdict in words, ready for a terminal or a page."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
import plotly.graph_objects as go


@dataclass(frozen=True)
class Result:
    """The answer to one question about one model.

    Attributes:
        name: the analysis, as its command is called ("logit-lens").
        title: the heading of its panel.
        question: what was asked, one sentence.
        verdict: what was found, in words, with the numbers that carry it: the finding on the first line, and on each
            further line one detail.
        numbers: the headline numbers by name, each with its unit in the name where it has one.
        tables: every number a figure shows, by title.
        figures: the pictures, by title.
        how_to_read: how the figures are read, and what they cannot show.
        source: where the method is from.
    """

    name: str
    title: str
    question: str
    verdict: str
    numbers: Mapping[str, float | int | str]
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, go.Figure] = field(default_factory=dict)
    how_to_read: str = ""
    source: str = ""

    @property
    def finding(self) -> str:
        """The first line of the verdict."""
        return self.verdict.partition("\n")[0]

    @property
    def details(self) -> list[str]:
        """The further lines of the verdict."""
        return self.verdict.split("\n")[1:]
