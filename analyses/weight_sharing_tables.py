"""The tables of weight sharing."""

import pandas as pd

from interp.parameter_count import parameter_count
from interp.weight_sharing import DirectPath, SharedDirections
from models import HookedTransformer

OWN, OTHER = "the same token", "two different tokens"


def parameter_table(model: HookedTransformer) -> pd.DataFrame:
    """Parameters by part, as the model is and as it would be the other way."""
    parts = parameter_count(model.cfg)
    other = dict(parts, unembedding=0 if parts["unembedding"] else model.W_U.numel())
    as_is, otherwise = list(parts.values()), list(other.values())
    tied = model.cfg.tie_word_embeddings
    return pd.DataFrame(
        {
            "part": [*parts, "all"],
            "shared": [*(as_is if tied else otherwise), sum(as_is if tied else otherwise)],
            "apart": [*(otherwise if tied else as_is), sum(otherwise if tied else as_is)],
        }
    )


def cosine_table(directions: SharedDirections) -> pd.DataFrame:
    """The mean cosine of a token's two vectors beside that of different tokens' vectors, which is its null.

    The interval of the first is over tokens; of the second, where the mean of as many random pairs would fall;
    both by the normal approximation.
    """
    own = directions.own[directions.own.isfinite()].cpu()
    own_std = float(own.std(correction=0))
    mean, errors = float(own.mean()), [1.96 * std / len(own) ** 0.5 for std in (own_std, directions.others_std)]
    return pd.DataFrame(
        {
            "pairs": [OWN, OTHER],
            "mean_cosine": [mean, directions.others_mean],
            "low": [mean - errors[0], directions.others_mean - errors[1]],
            "high": [mean + errors[0], directions.others_mean + errors[1]],
            "standard_deviation": [own_std, directions.others_std],
        }
    )


def eigenvalue_table(path: DirectPath) -> pd.DataFrame:
    """The eigenvalues, largest first, as shares of the sum of their sizes."""
    order = path.eigenvalues.abs().argsort(descending=True)
    shares = (path.eigenvalues[order] / path.eigenvalues.abs().sum()).cpu()
    return pd.DataFrame({"real_share": shares.real.numpy(), "imaginary_share": shares.imag.numpy()})
