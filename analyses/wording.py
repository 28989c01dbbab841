"""Pieces of sentences that several verdicts are made of."""

import pandas as pd


def listed(parts: list[str]) -> str:
    """The parts as a list in a sentence: `a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def between(row: pd.Series, column: str, form: str = ".2f") -> str:
    """The number of that column with its interval in brackets, or alone where no interval is known."""
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return f"{row[column]:{form}}" + ("" if pd.isna(low) else f" ({low:{form}} to {high:{form}})")
