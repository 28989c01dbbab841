"""Which head and which query are looked at, where the user does not say: a rule, and the sentence that states it."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.invariants.reading import visible

from .errors import NotApplicableError, OptionError

INDUCTION = 0.3
"""The mean attention to what followed an earlier copy from which a head is taken for an induction head."""
ABOVE_NULL = 3.0
"""How many times its share under even attention that must be."""
KEYS = 4
"""How many keys a query should see for a peak among them to mean something."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What is looked at.

    Attributes:
        layer: the head's layer.
        head: the head.
        prompt: the prompt that is drawn.
        queries: one query position for each prompt.
        has_query: the prompts in which the rule found a query at all.
        rule: how head and query were chosen, a sentence.
    """

    layer: int
    head: int
    prompt: int
    queries: Int[Tensor, " batch"]
    has_query: Bool[Tensor, " batch"]
    rule: str

    @property
    def name(self) -> str:
        """L1H5."""
        return f"L{self.layer}H{self.head}"


def choose(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    layer: int | None,
    head: int | None,
    prompt: int | None,
    query: int | None,
) -> Choice:
    """The strongest induction head among those asked for, or else the one with the most peaked attention.

    Raises:
        OptionError: a layer, head, prompt or query that is not there, or a query with a single key.
        NotApplicableError: no query sees two keys.
    """
    _check(model, tokens, layer, head, prompt, query)
    patterns, seen = _patterns(model, tokens)
    comparable = _comparable(seen, layer, query)
    targets = _followers(tokens)
    scores, null = _prefix_matching(patterns, targets, seen, comparable)
    scores[0] = -1.0  # an induction head reads what an earlier layer wrote
    at, best = _best(scores, layer, head)
    copied = targets.any() if prompt is None else targets[prompt].any()
    if query is None and copied and best >= max(INDUCTION, ABOVE_NULL * float(null[at[0]])):
        peaks = (patterns * targets[:, None]).amax(dim=-1)
        candidates = targets.any(dim=-1) & comparable[at[0]]
        how = (
            f"it puts {best:.2f} of its attention on what followed an earlier copy of the query's token (even "
            f"attention would put {float(null[at[0]]):.2f} there), more than any other head; of its queries the one "
            "that does so most is drawn"
        )
    else:
        others, asked, but = _apart_from_first_and_self(seen, comparable, layer)
        peaks, attended_most = _peaks(patterns, seen, others)
        at, best = _best(_mean_over(peaks, asked), layer, head)
        candidates = asked[at[0]].expand(tokens.shape)
        # A query that looks at such a key most of all comes before every one that does not.
        peaks = peaks + attended_most * patterns.shape[-1]
        how = (
            f"its attention to a single key{but} is the most peaked, on average {best:.1f} times what even attention "
            "would put there; of its queries the most peaked is drawn, first of all one that attends to no key more"
        )
    strongest, queries = peaks[at[0], :, at[1]].masked_fill(~candidates, -1.0).max(dim=1)
    shown = int(strongest.argmax()) if prompt is None else prompt
    if strongest[shown] < 0:
        raise OptionError(f"prompt {shown} has no query that L{at[0]}H{at[1]} could be asked about")
    return Choice(*at, shown, queries, strongest >= 0, _rule(at, layer, head, query, how))


def _rule(at: tuple[int, int], layer: int | None, head: int | None, query: int | None, how: str) -> str:
    if layer is not None and head is not None and query is not None:
        return "Head and query were asked for."
    given = [name for name, value in (("layer", layer), ("head", head), ("query", query)) if value is not None]
    among = f" among those of the {' and '.join(given)} asked for" if given else ""
    return f"L{at[0]}H{at[1]} was chosen{among} because {how}."


def _patterns(
    model: Any, tokens: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "layer batch head query key"], Bool[Tensor, "layer query key"]]:
    """The patterns of all heads, and which keys each query may look at."""
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    seen = torch.stack([visible(model, layer, tokens.shape[1]) for layer in range(model.cfg.n_layers)])
    return torch.stack([cache[name].detach().double().cpu() for name in names]), seen.cpu()


def _comparable(
    seen: Bool[Tensor, "layer query key"], layer: int | None, query: int | None
) -> Bool[Tensor, "layer one query"]:
    """The queries that may be asked about: those that see at least two keys, or the one that was asked for."""
    several = (seen.sum(dim=-1) >= 2)[:, None]
    if not several.any():
        raise NotApplicableError("no query sees two keys, so there is nothing to choose between")
    if query is not None:
        several[..., torch.arange(several.shape[-1]) != query] = False
        if not several[slice(None) if layer is None else layer].any():
            raise OptionError(f"query {query} sees a single key there: there is nothing to choose between")
    return several


def _apart_from_first_and_self(
    seen: Bool[Tensor, "layer query key"], comparable: Bool[Tensor, "layer one query"], layer: int | None
) -> tuple[Bool[Tensor, "layer query key"], Bool[Tensor, "layer one query"], str]:
    """The keys and queries among which a peak is looked for, and how the sentence says what is left out."""
    position = torch.arange(seen.shape[-1])
    later = seen & (position > 0)
    others = later & (position[:, None] != position)
    count = seen.sum(dim=-1)[:, None]
    enough = count.masked_fill(~comparable, 0).amax(dim=-1, keepdim=True).clamp(max=KEYS)
    asked = comparable & others.any(dim=-1)[:, None] & (count >= enough)
    if asked[slice(None) if layer is None else layer].any():
        return others, asked, " other than the first and the query's own"
    return later, comparable, " other than the first"


def _peaks(
    patterns: Float[Tensor, "layer batch head query key"],
    seen: Bool[Tensor, "layer query key"],
    keys: Bool[Tensor, "layer query key"],
) -> tuple[Float[Tensor, "layer batch head query"], Bool[Tensor, "layer batch head query"]]:
    """The largest attention to one of the keys against even attention, and whether no other key gets more."""
    largest = (patterns * keys[:, None, None]).amax(dim=-1)
    return largest * seen.sum(dim=-1)[:, None, None], largest >= patterns.amax(dim=-1)


def _followers(tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch query key"]:
    """Whether the key follows an earlier copy of the query's token."""
    tokens = tokens.cpu()
    same = tokens[:, :, None] == tokens.roll(1, dims=1)[:, None]
    return same.tril(diagonal=-1) & (torch.arange(tokens.shape[1]) > 0)


def _prefix_matching(
    patterns: Float[Tensor, "layer batch head query key"],
    targets: Bool[Tensor, "batch query key"],
    seen: Bool[Tensor, "layer query key"],
    comparable: Bool[Tensor, "layer one query"],
) -> tuple[Float[Tensor, "layer head"], Float[Tensor, " layer"]]:
    """The mean attention to such keys where there is one, and what attention spread evenly would put there."""
    asked = comparable & targets.any(dim=-1)
    even = (seen[:, None].double() / seen.sum(dim=-1)[:, None, :, None] * targets).sum(dim=-1)
    scores = _mean_over((patterns * targets[:, None]).sum(dim=-1), asked)
    return scores, _mean_over(even[:, :, None], asked).squeeze(1)


def _mean_over(
    values: Float[Tensor, "layer batch head query"], chosen: Bool[Tensor, "layer some query"]
) -> Float[Tensor, "layer head"]:
    """The mean over the chosen queries; -1 for a layer that has none."""
    chosen = chosen[:, :, None].expand_as(values)
    count = chosen.sum(dim=(1, 3))
    return torch.where(count > 0, (values * chosen).sum(dim=(1, 3)) / count.clamp(min=1), -1.0)


def _best(scores: Float[Tensor, "layer head"], layer: int | None, head: int | None) -> tuple[tuple[int, int], float]:
    """The head with the highest score among those asked for, and its score."""
    asked = torch.zeros_like(scores, dtype=torch.bool)
    asked[slice(None) if layer is None else layer, slice(None) if head is None else head] = True
    among = scores.masked_fill(~asked, -2.0)
    return divmod(int(among.argmax()), scores.shape[1]), float(among.max())


def _check(
    model: Any, tokens: Tensor, layer: int | None, head: int | None, prompt: int | None, query: int | None
) -> None:
    sizes = {
        "layer": (layer, model.cfg.n_layers),
        "head": (head, model.cfg.n_heads),
        "prompt": (prompt, tokens.shape[0]),
        "query": (query, tokens.shape[1]),
    }
    for name, (given, size) in sizes.items():
        if given is not None and not 0 <= given < size:
            raise OptionError(f"{name} {given} is not there: there are {size}, counted from 0")
