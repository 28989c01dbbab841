"""Head detectors: which heads look at the previous token, at copies, at what followed them, or at the first token."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import TokensError
from interp.head_scores import AttentionScores, HeadScores, attention_scores
from interp.invariants.invariant import ROUNDING
from interp.repeated_tokens import RepeatedTokens, repeated_random_tokens
from interp.sample_copying import copying_on_samples, direct_path_obstacle
from models import HookedTransformer

from .errors import NotApplicableError
from .folded import folded_copy
from .head_figures import best_figure, copying_figure, score_figure
from .head_tables import COPYING, Measured, head_table
from .head_verdict import headline, numbers, verdict
from .result import Identity, Result

ON_ANY_TOKENS = ("previous token", "first token")
"""The detectors that need no token to come twice."""


@dataclass(frozen=True)
class Options:
    """How much is run, and from where on a head is called by the name of its kind."""

    sequences: int = field(default=16, metadata={"help": "Random sequences the scores are averaged over."})
    threshold: float = field(
        default=0.4, metadata={"help": "How far from chance (0) to all attention (1) a head of a kind is."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the random sequences."})

    def __post_init__(self) -> None:
        if self.sequences < 2 or not 0 < self.threshold < 1:
            raise ValueError(
                f"sequences={self.sequences} must be at least 2, for an interval, and threshold={self.threshold} "
                "between 0 and 1"
            )


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """Every head's score by every detector, on repeated random tokens; on the prompts where those do not fit.

    Raises:
        NotApplicableError: repeated random tokens do not fit the model, and the prompts have fewer than 3 tokens.
    """
    measured = _measured(model, tokens, options)
    table = head_table(measured, options.threshold)
    figures = {"Scores of all heads": score_figure(table), "The best heads of each kind": best_figure(table)}
    if COPYING in measured.scores:
        figures["Looking back, and copying what is seen"] = copying_figure(table)
    return Result(
        name="heads",
        title="Head detectors",
        question="Which heads look at the previous token, at earlier copies of the token, at what followed those, or "
        "at the first token?",
        verdict=verdict(measured, table),
        headline=headline(table),
        numbers=numbers(table),
        tables={"Heads": table},
        figures=figures,
        identities=measured.identities,
        what_it_is="Random tokens, repeated, hold nothing that could be known beforehand: what a head looks at there "
        "shows its rule. Each detector adds up the attention that a head gives to the keys its kind would look at: "
        "the token before; every earlier copy of the same token; what followed every earlier copy (prefix matching, "
        "the mark of induction); the first token. The copying score asks what comes of it: whether a head raises the "
        "logit of the token it attends to more than those of the other tokens around, from −1 (others only) to 1 "
        "(that one only).",
        how_to_read="A score is the share of attention on those keys, averaged over queries, then over sequences. The "
        "null is what attention spread evenly over all visible keys would give. A head counts as one of a kind from "
        f"{options.threshold:g} of the way between the null and all attention, with an interval above the null. A "
        "score says where a head looks, not that the model needs it: see the ablations. A head can be of a kind on "
        "random tokens and do something else on text. Intervals: 95 % over sequences, not corrected for the number of "
        "heads.",
        source="Olsson et al. (2022), In-context Learning and Induction Heads, head activation evaluators; Wang et al. "
        "(2022) for duplicate-token heads; Xiao et al. (2024) for the first token.",
    )


def _measured(model: HookedTransformer, tokens: Tensor, options: Options) -> Measured:
    generator = torch.Generator().manual_seed(options.seed)
    try:
        repeated = repeated_random_tokens(model, options.sequences, generator)
    except TokensError as error:
        return _on_prompts(model, tokens, str(error))
    found = attention_scores(model, repeated.tokens)
    origin = (
        f"{options.sequences} random sequences of {repeated.length} different tokens, each {repeated.copies} times in "
        f"a row{' behind the start token' if repeated.start else ''}"
    )
    obstacle = direct_path_obstacle(model)
    scores = dict(found.by_kind)
    if obstacle is None:
        once = repeated.tokens[:, : repeated.start + repeated.length]
        scores[COPYING] = copying_on_samples(folded_copy(model)[0], once, repeated.start)
    identities = [_rows(model, found), _second_road(model, repeated, found.by_kind["induction"])]
    return Measured(scores, origin, "", obstacle or "", identities)


def _on_prompts(model: HookedTransformer, tokens: Tensor, why: str) -> Measured:
    if tokens.shape[1] < 3:
        raise NotApplicableError(f"{why}, and prompts of {tokens.shape[1]} tokens leave no query to measure")
    found = attention_scores(model, tokens, ON_ANY_TOKENS)
    origin = f"the {len(tokens)} prompts of {tokens.shape[1]} tokens"
    return Measured(dict(found.by_kind), origin, why, "nothing can be repeated", [_rows(model, found)])


def _rows(model: HookedTransformer, found: AttentionScores) -> Identity:
    statement = "each query's attention to the keys that it may see sums to one"
    return Identity(statement, found.row_error, ROUNDING.by_dtype[model.cfg.dtype])


def _second_road(model: HookedTransformer, repeated: RepeatedTokens, induction: HeadScores) -> Identity:
    """Prefix matching once more, from the distances between copies instead of from equal tokens."""
    n = repeated.tokens.shape[1]
    queries = torch.arange(repeated.start + repeated.length, n)
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    _, cache = model.run_with_cache(repeated.tokens[:1], names_filter=names)
    patterns = torch.stack([cache[name][0].double() for name in names])
    attention = torch.zeros(patterns.shape[:2], dtype=torch.float64, device=patterns.device)
    for query in queries.tolist():
        for target in range(query - repeated.length + 1, repeated.start, -repeated.length):
            attention += patterns[:, :, query, target] / len(queries)
    error = float((attention - induction.values[0]).abs().max())
    statement = "prefix matching by equal tokens is that by the distance of the copies"
    return Identity(statement, error, ROUNDING.by_dtype[model.cfg.dtype])
