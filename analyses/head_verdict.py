"""What the head detectors say, in words and headline numbers."""

import pandas as pd

from .head_tables import COPYING, Measured, nulls
from .wording import listed

LISTED = 5
_DOES = {
    "previous token": "looks at the previous token",
    "duplicate token": "looks at earlier copies of its token",
    "induction": "looks at what followed earlier copies (induction)",
    "first token": "rests on the first token",
}
_DO = {
    "previous token": "look at the previous token",
    "duplicate token": "look at earlier copies of their token",
    "induction": "look at what followed earlier copies (induction)",
    "first token": "rest on the first token",
}


def numbers(table: pd.DataFrame) -> dict[str, float | int | str]:
    """How many heads there are of each kind, and the best scores."""
    found: dict[str, float | int | str] = {"heads": int(table["head"].nunique())}
    for kind, rows in table.groupby("kind", sort=False):
        if kind == COPYING:
            continue
        best = rows.loc[rows["score"].idxmax()]
        key = str(kind).replace(" ", "_")
        found[f"{key}_heads"] = int(rows["is_one"].sum())
        if kind in ("previous token", "induction"):
            found[f"best_{key}_score"] = float(best["score"])
    return found


def headline(table: pd.DataFrame) -> str:
    """The finding as one clause."""
    clauses = [_clause(str(kind), rows) for kind, rows in _of_a_kind(table)]
    return listed(clauses) if clauses else "no head is of a known kind"


def verdict(measured: Measured, table: pd.DataFrame) -> str:
    """The heads of each kind by name, or that there are none; then each kind with its scores."""
    found = _of_a_kind(table)
    n_heads = table["head"].nunique()
    looking = table[table["kind"] != COPYING]
    if found:
        first = "; ".join(_clause(kind, rows, scores=True) for kind, rows in found)
        absent = [kind.replace(" ", "-") for kind in dict.fromkeys(looking["kind"]) if kind not in dict(found)]
        none = f"; there is no {' or '.join(absent)} head" if absent else ""
        first = f"Of {n_heads} head{'s' * (n_heads > 1)} {first}{none}."
    else:
        kinds = list(dict.fromkeys(looking["kind"]))
        best = looking.loc[looking["score"].idxmax()]
        none = f"None of the {n_heads} heads is of a known kind" if n_heads > 1 else "The one head is of no known kind"
        first = (
            f"{none} ({', '.join(kinds)}); the highest score is "
            f"{best['score']:.2f} of {best['head']} for {best['kind']}, short of {best['needed']:.2f}."
        )
    details = [_best(str(kind), rows) for kind, rows in looking.groupby("kind", sort=False)]
    details.append(_copying(measured, table))
    origin = measured.origin if not measured.why_prompts else f"{measured.origin}: {measured.why_prompts}"
    return "\n".join([first, *details, f"Measured on {origin}."])


def _of_a_kind(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    rows = table[table["is_one"] & (table["kind"] != COPYING)].sort_values("score", ascending=False)
    kinds = [kind for kind in dict.fromkeys(table["kind"]) if (rows["kind"] == kind).any()]
    return [(kind, rows[rows["kind"] == kind]) for kind in kinds]


def _clause(kind: str, rows: pd.DataFrame, scores: bool = False) -> str:
    shown = [_scored(row) if scores else str(row["head"]) for _, row in rows.head(LISTED).iterrows()]
    more = len(rows) - len(shown)
    names = listed([*shown, f"{more} more"] if more else shown)
    return f"{names} {(_DO if len(rows) > 1 else _DOES)[kind]}"


def _best(kind: str, rows: pd.DataFrame) -> str:
    best = rows.loc[rows["score"].idxmax()]
    n = int(rows["is_one"].sum())
    count = f"{n} head{'s' * (n != 1)} from {best['needed']:.2f} on" if n else f"no head reaches {best['needed']:.2f}"
    return (
        f"{kind.capitalize()}: {count}; the highest score is {best['score']:.2f} ({best['low']:.2f} to "
        f"{best['high']:.2f}) of {best['head']}, where even attention gives {best['null']:.2f}."
    )


def _copying(measured: Measured, table: pd.DataFrame) -> str:
    if COPYING not in measured.scores:
        return f"There is no copying score: {measured.why_no_copying}."
    copying = table[table["kind"] == COPYING].set_index("head")
    named = table.loc[(table["kind"] == "induction") & table["is_one"], "head"]
    if not len(named):
        best = copying["score"].idxmax() if copying["score"].notna().any() else None
        if best is None:
            return "No head raises the logit of any token in the sequence."
        score, null = copying["score"][best], copying["null"][best]
        return f"The highest copying score is {score:.2f} of {best}, where a head that raises all alike has {null:.2f}."
    own = copying.loc[named]
    rows = [f"{head} {row['score']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for head, row in own.iterrows()]
    copies = int(own["is_one"].sum())
    who = f"{copies} of {len(own)} induction heads raise" if len(own) > 1 else f"{own.index[0]} raises"
    if len(own) == 1 and not copies:
        who = f"{own.index[0]} does not raise"
    return (
        f"{who} the token attended to above the others around: copying score {', '.join(rows)}, where a head that "
        f"raises all alike has {nulls(own)}."
    )


def _scored(row: pd.Series) -> str:
    return f"{row['head']} ({row['score']:.2f})"
