"""What the ablations allow to be said of the induction heads: never more than their intervals and the control carry."""

from enum import Enum

import pandas as pd


class Role(Enum):
    """What heads that look where induction heads look do for the gain."""

    MAKES = "the gain depends on them, and more than on as many other heads"
    LIKE_ANY = "the gain depends on them no more than on as many other heads"
    NO_GAIN = "the gain is lower without them, but there is none"
    NOT_NEEDED = "the gain does not depend on them"
    AGAINST = "the gain is higher without them, and more so than without as many other heads"


def role(clean: pd.Series, without: pd.Series, control: pd.Series | None) -> Role:
    """The role that the paired interval of what the ablation takes allows, beside the control's where there is one."""
    low, high = without["gain_lost_nats_low"], without["gain_lost_nats_high"]
    if high < 0:
        return Role.AGAINST if control is None or high < control["gain_lost_nats_low"] else Role.LIKE_ANY
    if not low > 0:
        return Role.NOT_NEEDED
    if not clean["gain_nats_low"] > 0:
        return Role.NO_GAIN
    if control is not None and low <= control["gain_lost_nats_high"]:
        return Role.LIKE_ANY
    return Role.MAKES


def is_fed(clean: pd.Series, hidden: pd.Series | None, composition: pd.Series | None) -> bool:
    """Whether hiding the first half from the second's keys takes a share of a gain, and their weights compose."""
    if hidden is None or composition is None:
        return False
    takes = clean["gain_nats_low"] > 0 and hidden["gain_lost_nats_low"] > 0
    return bool(takes and composition["score"] > composition["null_high"])


def does(heads_role: Role, n_heads: int) -> str:
    """The role as a verb and its object, for the finding."""
    s, them = ("s", "it") if n_heads == 1 else ("", "them")
    looks = f"look{s} at what followed earlier copies"
    work = f"work{s}"
    return {
        Role.MAKES: f"make{s} the second copy of a random sequence cheaper",
        Role.LIKE_ANY: f"{looks}, but the gain depends on {them} no more than on other heads",
        Role.NO_GAIN: f"{looks}, but the second copy is no cheaper than the first",
        Role.NOT_NEEDED: f"{looks}, but the gain does not depend on {them}",
        Role.AGAINST: f"{looks}, but {work} against the gain",
    }[heads_role]


def repetition(clean: pd.Series) -> str:
    """What the second copy of a random sequence gains, or costs, with its interval."""
    mean, low, high = (clean[f"gain_nats{end}"] for end in ("", "_low", "_high"))
    if mean < 0:
        return f"a repetition costs {-mean:.2f} nats ({-high:.2f} to {-low:.2f}) more than the first copy"
    return f"a repetition gains {mean:.2f} nats ({low:.2f} to {high:.2f})"


def change(row: pd.Series, of: str = "the gain") -> str:
    """What an ablation does to the gain: lowers or raises it only where its interval says which."""
    mean, low, high = (row[f"gain_lost_nats{end}"] for end in ("", "_low", "_high"))
    if low > 0:
        return f"lowers {of} by {mean:.2f} ({low:.2f} to {high:.2f})"
    if high < 0:
        return f"raises {of} by {-mean:.2f} ({-high:.2f} to {-low:.2f})"
    # Adding zero turns a negative zero into zero.
    return f"changes {of} by {0.0 - mean + 0.0:.2f} ({0.0 - high + 0.0:.2f} to {0.0 - low + 0.0:.2f})"
