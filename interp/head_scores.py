"""Head detectors: how much of its attention a head gives to the keys that a known kind of head would look at.

Each detector is a set of target keys for every query. A head's score on a sequence is the attention on the targets,
summed over the targets of a query and averaged over the queries that have any; its null is what attention spread
evenly over all visible keys gives on the same tokens. The unit of replication is the sequence.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .errors import TokensError
from .invariants.reading import visible

PATTERNS_AT_ONCE = 2**24
"""How many attention weights, over all layers, are held at one time; more sequences are read a stretch at a time."""

FIRST_QUERY = 2
"""The first two positions are left out: what the second could attend to is the first token and the previous one."""


@dataclass(frozen=True)
class HeadScores:
    """One score of every head on every sequence, and what chance gives.

    Attributes:
        values: the score on each sequence.
        null: what a head without any preference scores on the same tokens.
    """

    values: Float[Tensor, "sequence layer head"]
    null: Float[Tensor, "sequence layer"]

    @property
    def excess(self) -> Float[Tensor, "sequence layer head"]:
        """The score less its null, sequence by sequence."""
        return self.values - self.null[..., None]


@dataclass(frozen=True)
class AttentionScores:
    """What the detectors found.

    Attributes:
        by_kind: the scores of each detector; a score and its null are shares of the attention, from 0 to 1.
        row_error: the largest deviation from 1 of what a query gives to the keys it may see, which backs the scores.
    """

    by_kind: Mapping[str, HeadScores]
    row_error: float


def previous_token_targets(tokens: Int[Tensor, "sequence pos"]) -> Bool[Tensor, "#sequence query key"]:
    """The token before. Source: Olsson et al. (2022), previous-token heads."""
    n = tokens.shape[1]
    return torch.eye(n, dtype=torch.bool, device=tokens.device).roll(-1, dims=1).tril(-1)[None]


def duplicate_token_targets(tokens: Int[Tensor, "sequence pos"]) -> Bool[Tensor, "sequence query key"]:
    """Every earlier copy of the query's own token. Source: Wang et al. (2022), duplicate-token heads."""
    return (tokens[:, :, None] == tokens[:, None, :]).tril(-1)


def induction_targets(tokens: Int[Tensor, "sequence pos"]) -> Bool[Tensor, "sequence query key"]:
    """What followed every earlier copy of the query's own token.

    Source: Olsson et al. (2022), prefix matching, with the erratum of 2022-09-20: the position that follows the copy.
    """
    # No query is after the last key, so its column is empty and nothing comes round to the first.
    return duplicate_token_targets(tokens).roll(1, dims=2)


def first_token_targets(tokens: Int[Tensor, "sequence pos"]) -> Bool[Tensor, "#sequence query key"]:
    """The first token, where many heads look when they find nothing. Source: Xiao et al. (2024), attention sinks."""
    n = tokens.shape[1]
    return (torch.arange(n, device=tokens.device) == 0).expand(1, n, n)


DETECTORS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "previous token": previous_token_targets,
    "duplicate token": duplicate_token_targets,
    "induction": induction_targets,
    "first token": first_token_targets,
}
"""The detectors by name: each gives the target keys of every query."""


@torch.no_grad()
def attention_scores(
    model: Any,
    tokens: Int[Tensor, "sequence pos"],
    kinds: Iterable[str] = tuple(DETECTORS),
    patterns_at_once: int = PATTERNS_AT_ONCE,
) -> AttentionScores:
    """The score of every head on every sequence, by detector. Patterns only are kept, of a few sequences at a time.

    Raises:
        TokensError: a sequence in which no query has a target.
        KeyError: there is no such detector.
    """
    targets = {kind: counted_targets(tokens, kind) for kind in kinds}
    cells = model.cfg.n_layers * model.cfg.n_heads * tokens.shape[1] ** 2
    step = max(1, patterns_at_once // cells)
    found: dict[str, list[Tensor]] = {kind: [] for kind in targets}
    seen = [visible(model, layer, tokens.shape[1]).to(tokens.device) for layer in range(model.cfg.n_layers)]
    row_error = 0.0
    for start in range(0, len(tokens), step):
        stretch = slice(start, start + step)
        patterns = attention_patterns(model, tokens[stretch])
        row_error = max(row_error, _row_error(patterns, seen))
        for kind, of_kind in targets.items():
            own = of_kind[stretch] if len(of_kind) > 1 else of_kind
            found[kind].append(torch.stack([target_attention(pattern, own) for pattern in patterns], dim=1))
    uniform = [(keys.double() / keys.sum(dim=-1, keepdim=True))[None, None] for keys in seen]
    by_kind = {}
    for kind, parts in found.items():
        null = torch.stack([target_attention(even, targets[kind])[:, 0] for even in uniform], dim=1)
        by_kind[kind] = HeadScores(torch.cat(parts), null.expand(len(tokens), -1))
    return AttentionScores(by_kind, row_error)


def counted_targets(tokens: Int[Tensor, "sequence pos"], kind: str) -> Bool[Tensor, "#sequence query key"]:
    """The targets of a detector, at the queries that count.

    Raises:
        TokensError: a sequence in which no query has a target.
    """
    targets = DETECTORS[kind](tokens).clone()
    targets[:, :FIRST_QUERY] = False
    without = ~targets.flatten(1).any(dim=1)
    if without.any():
        raise TokensError(
            f"the {kind} detector finds nothing to look for in sequence {int(without.nonzero()[0])} of {len(tokens)}: "
            f"no query from position {FIRST_QUERY} on has a target among its {tokens.shape[1]} tokens"
        )
    return targets


def target_attention(
    patterns: Float[Tensor, "#sequence head query key"], targets: Bool[Tensor, "#sequence query key"]
) -> Float[Tensor, "#sequence head"]:
    """The attention on the targets, summed over those of a query, averaged over the queries that have any."""
    queries = targets.any(dim=-1).sum(dim=-1)
    weights = targets / queries.double()[:, None, None]
    return torch.einsum("shqk,sqk->sh", patterns.double(), weights)


def attention_patterns(
    model: Any, tokens: Int[Tensor, "sequence pos"]
) -> list[Float[Tensor, "sequence head query key"]]:
    """The attention pattern of each layer."""
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    return [cache[name] for name in names]


def _row_error(patterns: list[Tensor], seen: list[Tensor]) -> float:
    return max(
        float((pattern.double() * keys).sum(dim=-1).sub(1).abs().max())
        for pattern, keys in zip(patterns, seen, strict=True)
    )
