"""What the comparison of two models says in words, and its headline numbers."""

import numpy as np
import pandas as pd
import torch

from interp.statistics import over_prompts

from .difference_tables import Compared
from .scored_positions import said


def headline(names: tuple[str, str], found: Compared) -> str:
    """The finding as one clause."""
    if same(found):
        return f"{names[0]} and {names[1]} are the same model, weight by weight and prediction by prediction"
    prompts = found.prompts
    loss, interval, straddles = _mean(prompts, "loss_difference_nats")
    kl, kl_interval, _ = _mean(prompts, "kl_nats")
    doubt = ", which these prompts do not tell from 0" if straddles else ""
    changed = 1 - prompts["same_top_token"].mean()
    return (
        f"the loss of {names[1]} less that of {names[0]} is {loss:+.3g} nats per token{interval}{doubt}, and its "
        f"predictions are KL({names[0]} ‖ {names[1]}) = {kl:.3g} nats{kl_interval} away, with another token on top at "
        f"{changed:.1%} of positions"
    )


def verdict(names: tuple[str, str], found: Compared) -> str:
    """The finding on the first line, then one detail a line."""
    first = headline(names, found)
    lines = [
        f"{first[0].upper() + first[1:] if first.startswith('the loss') else first}.",
        _about_weights(found.weights),
    ]
    if found.unmatched:
        listed = ", ".join(each.name for each in found.unmatched[:5])
        lines.append(
            f"{len(found.unmatched)} parameters have no partner of the same name and shape: "
            f"{listed}{' and more' if len(found.unmatched) > 5 else ''}."
        )
    if found.streams is None:
        lines.append("The streams have different widths, so that they cannot be compared.")
    elif (found.streams["relative_distance"] == 0).all():
        lines.append("The streams are equal at every place.")
    else:
        low = found.streams.loc[found.streams["cosine"].idxmin()]
        lines.append(f"The streams are least alike at place “{low['place']}”, with a cosine of {low['cosine']:.4g}.")
    if said(found.scored):
        lines.append(said(found.scored))
    n_prompts = len(found.prompts)
    lines.append(
        "One prompt: no interval can be given."
        if n_prompts == 1
        else f"Intervals: 95 % over {n_prompts} prompts, of paired differences."
    )
    return "\n".join(lines)


def numbers(found: Compared) -> dict[str, float | int | str]:
    """The headline numbers."""
    prompts, weights = found.prompts, found.weights
    headlines: dict[str, float | int | str] = {
        "loss_difference_nats": float(prompts["loss_difference_nats"].mean()),
        "kl_nats": float(prompts["kl_nats"].mean()),
        "largest_kl_nats": float(found.predictions.kl.max()),
        "other_token_on_top": float(1 - prompts["same_top_token"].mean()),
        "parameters_that_changed": int((weights["relative_change"] > 0).sum()),
        "parameters_compared": len(weights),
        "parameters_without_partner": len(found.unmatched),
    }
    finite = weights["relative_change"].replace([np.inf], np.nan).dropna()
    if len(finite):
        headlines["largest_relative_weight_change"] = float(finite.max())
    if found.streams is not None:
        headlines["least_cosine_of_the_streams"] = float(found.streams["cosine"].min())
    return headlines


def same(found: Compared) -> bool:
    """Whether nothing differs at all: no weight, no prediction."""
    unmoved = not found.unmatched and bool((found.weights["relative_change"] == 0).all())
    predictions = found.predictions
    return unmoved and bool((predictions.kl == 0).all()) and torch.equal(predictions.loss, predictions.other_loss)


def _about_weights(weights: pd.DataFrame) -> str:
    if not len(weights):
        return "No parameter has the same name and shape in both, so that no weights can be compared."
    moved = weights[weights["relative_change"] > 0]
    if not len(moved):
        return f"All {len(weights)} parameters are equal."
    most = moved.loc[moved["relative_change"].idxmax()]
    return (
        f"{len(moved)} of {len(weights)} parameters differ, most {most['parameter']} with a relative change of "
        f"{most['relative_change']:.3g} (cosine {most['cosine']:.3g}); the median is "
        f"{weights['relative_change'].median():.3g}."
    )


def _mean(table: pd.DataFrame, column: str) -> tuple[float, str, bool]:
    """The mean over prompts, its interval in words, and whether that holds 0."""
    estimate = over_prompts(torch.tensor(table[column].tolist(), dtype=torch.float64))
    mean, low, high = (float(value) for value in (estimate.mean, estimate.low, estimate.high))
    return (mean, "", False) if len(table) == 1 else (mean, f" ({low:.3g} to {high:.3g})", low <= 0 <= high)
