"""What the analysis of initialisation says, in words."""

import pandas as pd

from interp.initialisation import freezing_point, validity_limit

UNIFORM = 0.01
NEARLY_UNIFORM = 0.05
"""Shares of ln n that the entropy may lack for attention to be called uniform, or nearly so."""

TOLERANCE = 0.1
"""How far the second-order formula may be off to be called right."""


def verdict(
    by_scheme: pd.DataFrame, losses: pd.DataFrame, exact: pd.DataFrame, as_given: float, n_seeds: int, n_keys: int
) -> str:
    """The finding on the first line, and one detail on each further line."""
    return "\n".join(
        (
            _finding(by_scheme, losses),
            *_about_attention(by_scheme, n_seeds),
            f"In the model as given the entropy is {as_given:.1%} below ln n.",
            _about_validity(by_scheme, validity_limit(n_keys, TOLERANCE), n_keys),
            _about_loss(losses),
            _about_rows(exact),
        )
    )


def called(share: float) -> str:
    """What attention is called whose entropy lacks this share of ln n."""
    if share < UNIFORM:
        return "uniform"
    return "nearly uniform" if share < NEARLY_UNIFORM else "not uniform"


def _about_rows(exact: pd.DataFrame) -> str:
    hows = {"largest_error_of_a_row_sum": "max", "smallest_entry": "min", "largest_masked_entry": "max"}
    error, lowest, masked = (float(exact[column].agg(how)) for column, how in hows.items())
    n_masked = int(exact["masked_entries_of_a_prompt"].max())
    negative = "no entry is negative" if lowest >= 0 else f"there are NEGATIVE entries down to {lowest:.1e}"
    if not n_masked:
        zeros = "no entry is masked, by the configuration, so that there is no zero to check"
    elif masked == 0:
        zeros = f"every masked entry is exactly 0 ({n_masked} of each prompt, by the configuration)"
    else:
        zeros = f"masked entries are NOT zero but up to {masked:.1e}"
    return f"Every row sums to 1 to within {error:.0e}, {negative}, and {zeros}."


def _finding(by_scheme: pd.DataFrame, losses: pd.DataFrame) -> str:
    parts = [
        f"{judgement} for {', '.join(f'“{scheme}”' for scheme in rows['scheme'])}"
        for judgement, rows in by_scheme.groupby("attention_is", sort=False)
    ]
    small, large = losses.iloc[0], losses.iloc[-1]
    return (
        f"Before training, attention is {'; '.join(parts)}. The loss is {small['loss_nats']:.2f} nats (ln V = "
        f"{small['ln_V_nats']:.2f}) with embeddings of standard deviation {small['embedding_std']:g}, and "
        f"{large['loss_nats']:.1f} with {large['embedding_std']:g}."
    )


def _about_attention(by_scheme: pd.DataFrame, n_seeds: int) -> list[str]:
    return [
        *(
            f"Attention is {row.attention_is} for “{row.scheme}”: entropy {row.share_of_ln_n:.2%} below ln n (95 % "
            f"interval {row.share_low:.2%} to {row.share_high:.2%}), KL {row.kl_nats:.2g} nats, by the formula "
            f"{row.predicted_nats:.2g}."
            for row in by_scheme.itertuples()
        ),
        f"Called uniform below {UNIFORM:.0%} and nearly uniform below {NEARLY_UNIFORM:.0%}; {n_seeds} draws each.",
    ]


def _about_validity(by_scheme: pd.DataFrame, limit: float, n_keys: int) -> str:
    wrong = by_scheme[by_scheme["formula_is"] != "right"]
    parts = [
        f"{row.formula_is} for “{row.scheme}”, {row.formula_over_measured:.2f} times the measured value at scores of "
        f"standard deviation {row.score_std:.2f}"
        for row in wrong.itertuples()
    ]
    return (
        f"The formula is {'; '.join(parts) if parts else f'right to {TOLERANCE:.0%} for all of them'}. For independent "
        f"normal scores over {n_keys} keys it is right to {TOLERANCE:.0%} up to a standard deviation of {limit:.2f} "
        f"(earlier with fewer keys), and means nothing beyond {freezing_point(n_keys):.2f}, where a row freezes onto "
        f"its largest scores."
    )


def _about_loss(losses: pd.DataFrame) -> str:
    first, last = losses.iloc[0], losses.iloc[-1]
    sentence = (
        f"The loss before training is {first['loss_nats']:.3f} nats with embeddings of standard deviation "
        f"{first['embedding_std']:g}: ln V = {first['ln_V_nats']:.3f} plus half the variance of the logits, "
        f"{first['closed_form_nats']:.3f} together."
    )
    if last["closed_form_is_valid"]:
        return (
            sentence
            + f" With unit variance it is {last['loss_nats']:.1f}, by the formula {last['closed_form_nats']:.1f}."
        )
    return sentence + (
        f" With embeddings of unit variance it is {last['loss_nats']:.1f} and not ln V: the logits' variance is "
        f"{last['logit_variance_predicted']:.0f}, so the model is confidently wrong. That is outside the closed form's "
        f"range (variance below 2 ln V = {2 * last['ln_V_nats']:.1f}), where it says {last['closed_form_nats']:.1f}; "
        f"the exact law of normal logits, with the read token's own logit, says {last['general_nats']:.1f}."
    )
