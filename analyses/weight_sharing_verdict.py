"""What the analysis of weight sharing says, in words."""

import pandas as pd

from interp.weight_sharing import DirectPath
from models import HookedTransformer

from .weight_sharing_losses import DIRECT, MODEL, NULL, SCALED, SWAPPED, UNIFORM


def verdict(
    model: HookedTransformer,
    parameters: pd.DataFrame,
    path: DirectPath,
    on_top: float,
    cosines: pd.DataFrame,
    losses: pd.DataFrame,
    scored: str,
) -> str:
    """The finding on the first line, and one detail on each further line."""
    by = losses.set_index("logits_from")
    lines = [_finding(model, parameters, by), _about_the_path(by), _about_the_matrix(path, on_top)]
    if not model.cfg.tie_word_embeddings:
        lines.insert(1, _about_cosines(cosines))
    return "\n".join([*lines, scored] if scored else lines)


def _finding(model: HookedTransformer, parameters: pd.DataFrame, by: pd.DataFrame) -> str:
    total = parameters.set_index("part").loc["all"]
    saved, share = int(total["apart"] - total["shared"]), (total["apart"] - total["shared"]) / total["apart"]
    own = _with_interval(by.loc[MODEL])
    if model.cfg.tie_word_embeddings:
        return (
            f"One matrix reads and predicts, saving {saved:,} of {int(total['apart']):,} parameters ({share:.0%}); the "
            f"direct path through it alone reaches a loss of {_with_interval(by.loc[DIRECT])} nats, the model {own}."
        )
    return (
        f"Two matrices, where one would save {saved:,} of {int(total['apart']):,} parameters ({share:.0%}); with the "
        f"embedding's transpose in the place of W_U the loss goes from {own} to {_with_interval(by.loc[SWAPPED])} nats"
        f"{_even_scaled(by)}{_same(by)}."
    )


def _even_scaled(by: pd.DataFrame) -> str:
    return f", scaled to W_U's size to {by.loc[SCALED, 'loss_nats']:.2f}"


def _same(by: pd.DataFrame) -> str:
    """What the exchange says of the two matrices, where the model has learned something and the exchange costs it."""
    best = by.loc[min((SWAPPED, SCALED), key=lambda way: by.loc[way, "loss_nats"])]
    uniform, own = by.loc[UNIFORM], by.loc[MODEL, "loss_nats"]
    # One prompt has no interval, and nothing is concluded from it.
    if not uniform["over_the_model_low"] > 0:
        return (
            f"; the model itself is not measurably better than saying that every token is equally likely "
            f"({uniform['loss_nats']:.2f}), so this compares nothing that was learned"
        )
    low, high = best["over_the_model_low"], best["over_the_model_high"]
    if low <= 0:
        change = "the exchange lowers the loss" if high < 0 else "no cost of the exchange can be measured"
        return (
            f"; {change}: {best['over_the_model_nats']:+.2f} ({low:+.2f} to {high:+.2f}) against the model, prompt by "
            "prompt"
        )
    if best["loss_nats"] >= uniform["loss_nats"]:
        return (
            ", so the two matrices have learned different things: exchanged, it is worse than saying that every token "
            "is equally likely"
        )
    share = (uniform["loss_nats"] - best["loss_nats"]) / (uniform["loss_nats"] - own)
    return f", so the two matrices do {share:.0%} of one another's work"


def _about_cosines(cosines: pd.DataFrame) -> str:
    own, other = cosines.iloc[0], cosines.iloc[1]
    return (
        f"The two vectors of a token have a mean cosine of {own['mean_cosine']:.3f} ({own['low']:.3f} to "
        f"{own['high']:.3f} over tokens); those of two different tokens {other['mean_cosine']:.3f}, and as many random "
        f"pairs would give {other['low']:.3f} to {other['high']:.3f}."
    )


def _about_the_path(by: pd.DataFrame) -> str:
    direct, null, uniform = (by.loc[name] for name in (DIRECT, NULL, UNIFORM))
    gain = null["loss_nats"] - direct["loss_nats"]
    return (
        f"The direct path alone: {_with_interval(direct)} nats; given the embedding of another token "
        f"{_with_interval(null)}, so knowing the token is worth {gain:.2f} nats to it; ln V is "
        f"{uniform['loss_nats']:.2f}."
    )


def _about_the_matrix(path: DirectPath, on_top: float) -> str:
    return (
        f"As a matrix W_E W_U is {path.symmetric_share:.1%} symmetric (by chance 50 %), its diagonal holds "
        f"{path.diagonal_share:.2%} of the squares (by chance {1 / len(path.own):.2%}), {on_top:.0%} of the tokens "
        f"raise themselves most, and the positivity of its eigenvalues is {path.positivity:+.2f} (1: all positive)."
    )


def _with_interval(row: pd.Series) -> str:
    low, high = row["loss_low"], row["loss_high"]
    return f"{row['loss_nats']:.2f}" + ("" if pd.isna(low) or low == high else f" ({low:.2f} to {high:.2f})")
