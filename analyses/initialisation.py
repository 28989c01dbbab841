"""Attention and loss at initialisation: is attention uniform before training, and is the loss ln V?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from interp.initialisation import validity_limit
from interp.statistics import over_seeds
from models import HookedTransformer

from .errors import NothingToChooseError
from .initial_runs import SCHEMES, AttentionAtRandom, FreshModel, attention_at_random, loss_at_random
from .initialisation_figures import by_head_figure, by_row_figure, loss_figure
from .initialisation_verdict import TOLERANCE, called, verdict
from .next_token import require_same_vocabulary
from .result import Result

EMBEDDING_STDS = (0.02, 0.1, 0.3, 1.0)


_QUESTION = (
    "Before training, is attention uniform and is the loss ln V, as textbooks say, and how far does that depend on "
    "how the weights are drawn?"
)
_HOW_TO_READ = (
    "KL from uniform is the entropy that a row lacks to ln n, in nats; rows of one key are left out. Points on the "
    "diagonal obey the second-order formula, half the variance of the scores; below it the formula overshoots. "
    "Intervals are 95 % over draws of the weights, on the same prompts. Nothing here says that attention stays as it "
    "is once training starts."
)
_SOURCE = (
    "Half the variance of the scores: second-order expansion of softmax. Freezing of attention and of the loss: "
    "Derrida (1981), Random-energy model; Giorlandino and Goldt (2025)."
)


@dataclass(frozen=True)
class Options:
    """How much is drawn."""

    seeds: int = field(default=5, metadata={"help": "Draws of the weights for each scheme; intervals are over them."})
    prompts: int = field(default=4, metadata={"help": "Prompts each draw is run on."})

    def __post_init__(self) -> None:
        if self.seeds < 2 or self.prompts < 1:
            raise ValueError(f"seeds={self.seeds} must be at least 2, and prompts={self.prompts} at least 1")


def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """The divergence of attention from uniform and the loss of fresh copies of the architecture, beside theory.

    The model's own weights are looked at only for the contrast with training.

    Raises:
        NotApplicableError: outputs that are not the tokens it reads, so that there is no loss.
        ValueError: tokens of one position, where there is nothing to choose between and no loss.
        NothingToChooseError: windows of one key in every layer, in which a query sees nothing but itself.
    """
    require_same_vocabulary(model)
    if tokens.shape[1] < 2:
        raise ValueError(f"a query of one key is always uniform; tokens of shape {list(tokens.shape)} have no other")
    tokens = tokens[: options.prompts]
    fresh = FreshModel(model)
    drawn: dict[str, list[AttentionAtRandom]] = {
        scheme: [attention_at_random(random, tokens) for random in fresh.draws(scheme, options.seeds)]
        for scheme in SCHEMES
    }
    given = attention_at_random(model, tokens)
    if given.rows.empty:
        raise NothingToChooseError(
            f"every layer looks through a window of {model.cfg.window_size}: each query sees one key, itself, so that "
            f"attention has nothing to choose between; at least one layer must see two keys"
        )
    rows = pd.concat(
        [run.rows.assign(scheme=scheme, seed=seed) for scheme, runs in drawn.items() for seed, run in enumerate(runs)],
        ignore_index=True,
    )
    n_keys = int(rows["n_keys"].max())
    limit = validity_limit(n_keys, TOLERANCE)
    by_scheme = _by_scheme(rows, drawn)
    losses = _losses(fresh, tokens, options.seeds)
    exact = _exact_claims({**drawn, "the model as given": [given]})
    as_given = float(given.rows["kl_nats"].mean() / given.rows["log_n"].mean())
    # Rows of every length would be thousands of lines: powers of two, and the longest.
    shown = rows[rows["n_keys"].isin([2**power for power in range(1, 20)] + [n_keys])]
    by_head, by_row = _summary(rows, ["scheme", "head"]), _summary(rows, ["scheme", "n_keys"])
    return Result(
        name="initialisation",
        title="Attention and loss at initialisation",
        question=_QUESTION,
        verdict=verdict(by_scheme, losses, exact, as_given, options.seeds, n_keys),
        numbers=_numbers(by_scheme, losses, exact, limit, as_given),
        tables={
            "By scheme": by_scheme,
            "Loss by size of the embeddings": losses,
            "Exact claims": exact,
            "By head": by_head,
            "By number of keys": by_row,
            "By head and number of keys": _summary(shown, ["scheme", "head", "n_keys"]),
        },
        figures={
            "Measured against predicted, by head": by_head_figure(by_head),
            "By number of keys": by_row_figure(by_row),
            "Loss against the formula": loss_figure(losses),
        },
        how_to_read=_HOW_TO_READ,
        source=_SOURCE,
    )


def _summary(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Measured and predicted KL of each group, with the interval over seeds."""
    means = rows.groupby([*by, "seed"], sort=False)[["kl_nats", "predicted_nats", "log_n"]].mean()
    by_seed = {column: means[column].unstack("seed", sort=False) for column in means}
    estimate = over_seeds(torch.tensor(by_seed["kl_nats"].to_numpy().T))
    predicted, log_n = (by_seed[column].mean(axis=1).to_numpy() for column in ("predicted_nats", "log_n"))
    return (
        by_seed["kl_nats"]
        .index.to_frame(index=False)
        .assign(
            kl_nats=estimate.mean.numpy(),
            low_nats=estimate.low.numpy(),
            high_nats=estimate.high.numpy(),
            predicted_nats=predicted,
            share_of_ln_n=estimate.mean.numpy() / log_n,
        )
    )


def _by_scheme(rows: pd.DataFrame, drawn: Mapping[str, Sequence[AttentionAtRandom]]) -> pd.DataFrame:
    table = _summary(rows, ["scheme"])
    log_n = rows["log_n"].mean()
    table["share_low"], table["share_high"] = table["low_nats"] / log_n, table["high_nats"] / log_n
    table["formula_over_measured"] = table["predicted_nats"] / table["kl_nats"]
    table["score_std"] = [sum(run.score_std for run in drawn[s]) / len(drawn[s]) for s in table["scheme"]]
    table["largest_excess_over_1_n"] = [max(run.largest_excess for run in drawn[s]) for s in table["scheme"]]
    table["formula_is"] = [_judged(row) for row in table.itertuples()]
    table["attention_is"] = [called(share) for share in table["share_of_ln_n"]]
    return table


def _judged(row: Any) -> str:
    # Against the near end of the interval, so that chance in the draws is not taken for a fault of the formula.
    if row.predicted_nats > (1 + TOLERANCE) * row.high_nats:
        return "too high"
    return "too low" if row.predicted_nats < (1 - TOLERANCE) * row.low_nats else "right"


def _losses(fresh: FreshModel, tokens: Int[Tensor, "batch pos"], n_seeds: int) -> pd.DataFrame:
    d_vocab, rows = fresh.model.cfg.d_vocab_out, []
    for std in EMBEDDING_STDS:
        runs = [loss_at_random(model, tokens) for model in fresh.draws("xavier", n_seeds, std=std)]
        estimate = over_seeds(torch.tensor([run.measured for run in runs], dtype=torch.float64))
        closed_form, general, variance = (
            sum(getattr(run, name) for run in runs) / n_seeds for name in ("closed_form", "general", "variance")
        )
        rows.append(
            {
                "embedding_std": std,
                "loss_nats": float(estimate.mean),
                "low_nats": float(estimate.low),
                "high_nats": float(estimate.high),
                "ln_V_nats": math.log(d_vocab),
                "logit_variance_predicted": variance,
                "closed_form_nats": closed_form,
                "general_nats": general,
                "closed_form_is_valid": variance < 2 * math.log(d_vocab),
            }
        )
    return pd.DataFrame(rows)


def _exact_claims(drawn: Mapping[str, Sequence[AttentionAtRandom]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "weights": list(drawn),
            "largest_error_of_a_row_sum": [max(run.row_sum_error for run in runs) for runs in drawn.values()],
            "smallest_entry": [min(run.lowest for run in runs) for runs in drawn.values()],
            "largest_masked_entry": [max(run.masked for run in runs) for runs in drawn.values()],
            "masked_entries_of_a_prompt": [runs[0].n_masked for runs in drawn.values()],
        }
    )


def _numbers(
    by_scheme: pd.DataFrame, losses: pd.DataFrame, exact: pd.DataFrame, limit: float, as_given: float
) -> dict[str, float | int | str]:
    numbers: dict[str, float | int | str] = {
        "largest_error_of_a_row_sum": float(exact["largest_error_of_a_row_sum"].max()),
        "smallest_entry": float(exact["smallest_entry"].min()),
        "largest_masked_entry": float(exact["largest_masked_entry"].max()),
        "masked_entries_of_a_prompt": int(exact["masked_entries_of_a_prompt"].max()),
        "score_std_up_to_which_the_formula_is_within_10_percent": limit,
        "entropy_gap_of_the_model_as_given_share_of_ln_n": as_given,
    }
    for row in by_scheme.itertuples():
        numbers[f"{row.scheme}_kl_from_uniform_nats"] = float(row.kl_nats)
        numbers[f"{row.scheme}_predicted_nats"] = float(row.predicted_nats)
        numbers[f"{row.scheme}_attention_is"] = str(row.attention_is)
    first, last = losses.iloc[0], losses.iloc[-1]
    numbers["ln_V_nats"] = float(first["ln_V_nats"])
    numbers["loss_at_embedding_std_0.02_nats"] = float(first["loss_nats"])
    numbers["loss_at_embedding_std_1_nats"] = float(last["loss_nats"])
    return numbers
