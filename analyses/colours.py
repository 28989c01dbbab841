"""The colours of lines and bars, apart in both of the page's schemes and for most of the colour-blind."""

SERIES = ("#3b6ea5", "#c8663c", "#5a8f57", "#8a63a8", "#b0903a", "#4f9a9a", "#b5557a", "#7a7a7a")


def series(number: int) -> str:
    """The colour of the line with this number, counted from 0; after the last the first comes again."""
    return SERIES[number % len(SERIES)]
