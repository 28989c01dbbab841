"""Attention patterns as pictures: all heads at a glance, one head with its tokens, and how widely each looks."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from interp.head_scores import FIRST_QUERY
from interp.invariants.invariant import ROUNDING
from interp.patterns import Patterns, PatternStatistics, pattern_statistics, patterns
from interp.statistics import over_prompts
from models import HookedTransformer

from .errors import OptionError
from .labels import head_label, token_labels
from .pattern_figures import entropy_figure, head_figure, mosaic_figure
from .pattern_verdict import headline, numbers, verdict
from .result import Identity, Result

CELLS = 24_000
"""Cells that are drawn of all heads together: of a large model fewer positions, and only its sharpest heads by name."""

LEAST_POSITIONS = 12


@dataclass(frozen=True)
class Options:
    """What to draw."""

    drawn_prompt: int = field(default=0, metadata={"help": "Which prompt is drawn."})
    positions: int = field(default=32, metadata={"help": "How many of its positions are drawn, at most."})

    def __post_init__(self) -> None:
        if self.drawn_prompt < 0 or self.positions < 1:
            raise ValueError(
                f"drawn_prompt={self.drawn_prompt} counts from 0, and positions={self.positions} must be at least 1"
            )


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """The pattern of every head on one prompt, and its entropy over all prompts.

    Raises:
        OptionError: a prompt that is not there.
        ValueError: fewer than three positions, which leave no head a choice.
    """
    if options.drawn_prompt >= tokens.shape[0]:
        raise OptionError(
            f"prompt {options.drawn_prompt} is not there: the batch has {tokens.shape[0]}, counted from 0"
        )
    if tokens.shape[1] <= FIRST_QUERY:
        raise ValueError(f"patterns are compared from the third token on; tokens of shape {list(tokens.shape)} lack it")
    statistics = pattern_statistics(model, tokens)
    heads = head_table(statistics)
    n_heads = len(heads)
    shown = min(options.positions, tokens.shape[1], max(LEAST_POSITIONS, int((CELLS / n_heads) ** 0.5)))
    prompt = tokens[options.drawn_prompt : options.drawn_prompt + 1]
    drawn = patterns(model, prompt)
    attention = drawn.attention[0, :, :, :shown, :shown].flatten(0, 1)
    weighted = _relative(drawn.value_weighted[0, :, :, :shown, :shown].flatten(0, 1))
    labels = token_labels(model, prompt[0, :shown])
    by_name = heads["effective_keys"].argsort().tolist()[: max(1, CELLS // shown**2)]
    return Result(
        name="patterns",
        title="Attention patterns",
        question="Where does each head look, how widely, and how much does it read there?",
        verdict=verdict(heads, tuple(tokens.shape), shown),
        headline=headline(heads),
        numbers=numbers(heads),
        tables={"Heads": heads, "Patterns of the drawn prompt": _pattern_table(heads, attention, weighted, labels)},
        figures={
            "All heads at a glance": mosaic_figure(attention, model.cfg.n_heads),
            "One head": head_figure(attention, weighted, labels, list(heads["head"]), sorted(by_name), by_name[0]),
            "How widely each head looks": entropy_figure(heads),
        },
        identities=_identities(model, statistics, drawn),
        what_it_is="At each position a head spreads one unit of attention over the positions it may see; a row of its "
        "pattern is one such position, a column what is looked at. The entropy says over how many keys the attention "
        "is spread: exp of it is the number of keys that would share it evenly. A head often rests on a token from "
        "which it reads next to nothing, so the value-weighted pattern multiplies each weight by the length of what "
        "is read there and written into the stream.",
        how_to_read=f"The pictures show the first {shown} positions of prompt {options.drawn_prompt}; colours are "
        "spaced by the square root, so that small weights are seen. In the second, choose a head by its name: on the "
        "left its attention, on the right the value-weighted one as a share of the head's largest entry. A pattern "
        "says where a head looks, not why, nor that it matters. Entropies are averaged over queries from the third "
        "token on, then over prompts; intervals: 95 % over prompts.",
        source="Vaswani et al. (2017), section 3.2; Elhage et al. (2021) for value-weighted patterns, here by the "
        "length of what is written, which does not depend on how W_V W_O is split; Xiao et al. (2024) for attention "
        "that rests on the first token.",
    )


def head_table(statistics: PatternStatistics) -> pd.DataFrame:
    """One row a head: entropy and effective number of keys with intervals, and what the first token gets."""
    entropy = over_prompts(statistics.entropy.cpu())
    n_layers, n_heads = entropy.mean.shape
    even = statistics.even_entropy.cpu()[:, None].expand(n_layers, n_heads)
    first, read = (over_prompts(part.cpu()) for part in (statistics.first_attention, statistics.first_read))
    columns = {
        "entropy_nats": entropy.mean,
        "entropy_low": entropy.low,
        "entropy_high": entropy.high,
        "even_entropy_nats": even,
        "effective_keys": entropy.mean.exp(),
        "effective_keys_low": entropy.low.exp(),
        "effective_keys_high": entropy.high.exp(),
        "even_keys": even.exp(),
        "first_token_attention": first.mean,
        "first_token_low": first.low,
        "first_token_high": first.high,
        "first_token_share_of_what_is_read": read.mean,
    }
    names = [head_label(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    return pd.DataFrame({"head": names, **{name: values.flatten().numpy() for name, values in columns.items()}})


def _relative(weighted: Tensor) -> Tensor:
    # A head that reads nothing anywhere has a pattern of zeros.
    largest = weighted.amax(dim=(-2, -1), keepdim=True)
    return weighted / largest.where(largest > 0, 1.0)


def _pattern_table(heads: pd.DataFrame, attention: Tensor, weighted: Tensor, labels: list[str]) -> pd.DataFrame:
    """Every weight that is not zero, as it is drawn but unrounded up to four digits."""
    head, query, key = (attention > 0).nonzero(as_tuple=True)
    return pd.DataFrame(
        {
            "head": heads["head"].to_numpy()[head.cpu().numpy()],
            "query": query.cpu().numpy(),
            "query_token": [labels[at] for at in query.tolist()],
            "key": key.cpu().numpy(),
            "key_token": [labels[at] for at in key.tolist()],
            "attention": attention[head, query, key].cpu().numpy().round(4),
            "value_weighted": weighted[head, query, key].cpu().numpy().round(4),
        }
    )


def _identities(model: HookedTransformer, statistics: PatternStatistics, drawn: Patterns) -> list[Identity]:
    allowed = ROUNDING.by_dtype[model.cfg.dtype]
    rows = float((drawn.attention.sum(dim=-1) - 1).abs().max())
    return [
        Identity("each row of a pattern sums to one", rows, allowed),
        Identity("the values weighted by the pattern are what the head puts out", statistics.output_error, allowed),
    ]
