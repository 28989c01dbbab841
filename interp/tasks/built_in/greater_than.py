"""Greater-than: what began in a year ended in a later one."""

from collections.abc import Iterator
from random import Random
from typing import Any

from ...errors import TokensError
from ..pair import Pair
from ..task import DrawnTask
from ..texts import shown
from ..vocabulary import CONTEXT, continuations, of_one_length, require_tokenizer, single_tokens
from .words import words

CENTURIES = tuple(map(str, range(11, 20)))

YEARS = tuple(f"{year:02d}" for year in range(100))

CORRUPTED, LOWEST, HIGHEST = "01", 2, 98
"""The corrupted year, and the range of the clean ones: each has a year above and one between."""

EVENTS = words(
    """
    war trial siege strike journey reign drought project alliance festival expedition campaign famine epidemic
    conflict marriage voyage crisis debate revolt construction peace
    """
)

TEMPLATES = tuple(
    f"The {{event}} {began} in the year {{century}}{{year}} and {ended} in the year {{century}}"
    for began, ended in (
        ("began", "ended"),
        ("started", "stopped"),
        ("opened", "closed"),
        ("appeared", "vanished"),
        ("emerged", "finished"),
        ("arose", "ceased"),
    )
)


def greater_than(n_prompts: int = 32, seed: int = 0) -> DrawnTask:
    """Something began in a year of some century, and ended in one of the same century.

    Right are all two-digit years above, wrong are all others: the metric is the difference of their probabilities.
    """
    return DrawnTask(
        "greater-than",
        "What began in the year XXYY ended in the year XX… Answers: all two-digit years above YY, against YY and all "
        "below. Corrupted: it began in XX01.",
        'Hanna, Liu and Variengien (2023), "How does GPT-2 compute greater-than?"',
        _pairs,
        n_prompts,
        seed,
    )


def _pairs(model: Any, random: Random) -> Iterator[Pair]:
    dates = _dates(model)
    events = single_tokens(model, "greater-than", "events", EVENTS)
    century, year = dates[0]
    example = {"event": events[0], "century": century, "year": year}
    templates = of_one_length(model, TEMPLATES, lambda template: template.format(**example))
    while True:
        template, (century, year) = random.choice(templates), random.choice(dates)
        drawn = {"event": random.choice(events), "century": century}
        yield Pair(
            template.format(year=year, **drawn),
            template.format(year=CORRUPTED, **drawn),
            YEARS[int(year) + 1 :],
            YEARS[: int(year) + 1],
            template=template.split()[2],
        )


def _dates(model: Any) -> list[tuple[str, str]]:
    """The centuries and years that the tokenizer writes one after the other, each year being a single token.

    Raises:
        TokensError: there are none, or the model has no tokenizer.
    """
    require_tokenizer(model, "greater-than")
    years = dict(zip(YEARS, continuations(model, CENTURIES[0], YEARS), strict=True))
    found = []
    for century in CENTURIES if all(len(tokens) == 1 for tokens in years.values()) else ():
        alone, *dates = continuations(model, CONTEXT, [f" {century}", *(f" {century}{year}" for year in YEARS)])
        apart = [year for year, date in zip(YEARS, dates, strict=True) if date == (*alone, *years[year])]
        if CORRUPTED in apart:
            found += [(century, year) for year in apart if LOWEST <= int(year) <= HIGHEST]
    if not found:
        split = shown(model.to_str_tokens(" 1732", prepend_bos=False))
        raise TokensError(
            "greater-than needs a tokenizer with a token for each two digits, which writes a year as its century and "
            f"those; here ' 1732' is {split}"
        )
    return found
