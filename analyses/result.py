"""What every analysis returns: numbers, tables, figures and a verdict in words, ready for a terminal or a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import plotly.graph_objects as go


@dataclass(frozen=True)
class Identity:
    """A second road to a number of this very result, and how far apart the two came out.

    Attributes:
        statement: what must hold ("the components sum to the logit").
        error: the largest deviation that was measured, relative to the largest value compared.
        tolerance: the largest deviation that rounding in the model's dtype explains.
    """

    statement: str
    error: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the deviation is within the tolerance; NaN is not."""
        return self.error <= self.tolerance


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
        identities: what backs the numbers, measured in the same run.
        what_it_is: what is computed, in words that a student can follow.
        how_to_read: how the figures are read, and what they cannot show.
        source: where the method is from.
        headline: the finding as one clause for the report's summary, lower case, without a full stop ("heads L1H0 and
            L1H3 copy what followed before"); without it the summary takes the finding's first sentence.
    """

    name: str
    title: str
    question: str
    verdict: str
    numbers: Mapping[str, float | int | str]
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, go.Figure] = field(default_factory=dict)
    identities: Sequence[Identity] = ()
    what_it_is: str = ""
    how_to_read: str = ""
    source: str = ""
    headline: str = ""

    @property
    def finding(self) -> str:
        """The first line of the verdict."""
        return self.verdict.partition("\n")[0]

    @property
    def details(self) -> list[str]:
        """The further lines of the verdict."""
        return self.verdict.split("\n")[1:]
