"""Why a head looks where it looks: one attention score, taken apart into pairs of writers."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import NotASumError
from interp.invariants.invariant import ROUNDING
from interp.invariants.reading import deviation
from interp.residual import require_sum
from interp.score_decomposition import ScoreTerms, require_bilinear, score_terms
from models import HookedTransformer

from .attention_scores_choice import choose
from .attention_scores_figures import key_figure, pair_figure
from .attention_scores_tables import key_table, pair_table
from .attention_scores_verdict import numbers, verdict
from .errors import NotApplicableError
from .result import Identity, Result


@dataclass(frozen=True)
class Options:
    """Which score; what is left out is chosen by a rule that the verdict states."""

    layer: int | None = field(default=None, metadata={"help": "The head's layer; by default chosen."})
    head: int | None = field(default=None, metadata={"help": "The head within its layer; by default chosen."})
    drawn_prompt: int | None = field(default=None, metadata={"help": "Which prompt is drawn; by default the clearest."})
    query: int | None = field(default=None, metadata={"help": "The position that looks; by default the clearest."})
    writers: int = field(default=10, metadata={"help": "Writers drawn on each side; the others are added up."})

    def __post_init__(self) -> None:
        for name in ("layer", "head", "drawn_prompt", "query"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name}={value} counts from 0")
        if self.writers < 1:
            raise ValueError(f"writers={self.writers} must be at least 1")


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """The score of the most attended key less the mean of the other keys', by pair of writers.

    Raises:
        NotApplicableError: scores that are no sum over what was written, or queries that see one key only.
        OptionError: a layer, head, prompt or query that is not there.
    """
    try:
        require_sum(model)
        require_bilinear(model)
    except NotASumError as error:
        raise NotApplicableError(str(error)) from error
    choice = choose(model, tokens, options.layer, options.head, options.drawn_prompt, options.query)
    terms = score_terms(model, tokens, choice.layer, choice.head, choice.queries.to(tokens.device))
    pairs = pair_table(terms, choice, options.writers)
    keys = key_table(model, tokens, terms, choice)
    return Result(
        name="attention-scores",
        title="Why one head looks where it looks",
        question="Which pairs of earlier writes, one read by the query and one by the key, make the score by which a "
        "head prefers the key it looks at?",
        verdict=verdict(model, tokens, terms, choice, pairs, keys),
        numbers=numbers(terms, choice, pairs, keys),
        tables={"Pairs of writers": pairs, "Keys of the drawn query": keys},
        figures={"What prefers the most attended key": pair_figure(pairs), "Where the query looks": key_figure(keys)},
        identities=_identities(model, terms),
        what_it_is="The score of a query and a key is a product of two vectors. The query's is the sum of what the "
        "head's W_Q reads of each earlier write at the query's position, the key's the sum of what W_K reads at the "
        "key's; so the score is a sum over pairs of writes. Softmax drops whatever is the same for every key: what "
        "counts is how far a key's score exceeds that of the others.",
        how_to_read="A cell of the map is the part of the preferred key's score, less the mean of the other keys', "
        "that comes from the writer of its row at the query and the writer of its column at the key. One unit "
        "multiplies the attention ratio by e. A head of an earlier layer among the columns is K-composition, among "
        "the rows Q-composition. The norm's scale is held at its value at each position. The table gives the same "
        "averaged over prompts, each with its own query chosen by the same rule; chosen queries are clear cases, not "
        "average ones. Intervals: 95 % over prompts.",
        source="Elhage et al. (2021), A Mathematical Framework for Transformer Circuits: Q- and K-composition.",
    )


def _identities(model: HookedTransformer, terms: ScoreTerms) -> list[Identity]:
    allowed = ROUNDING.by_dtype[model.cfg.dtype]
    got, expected = terms.summed()[terms.visible], terms.scores[terms.visible]
    # The scores in 16 bits are rounded by themselves, hence relative to the largest term that was added.
    return [Identity("the terms of all pairs of writers sum to the score", deviation(got, expected), allowed)]
