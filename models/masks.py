"""Which key position each query position may look at."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .config import HookedTransformerConfig


@dataclass(frozen=True)
class Visibility:
    """A rule over pairs of positions: a query sees keys up to itself, or within a window, or all.

    Attributes:
        causal: a query sees no later key.
        window: a query sees only keys fewer than this many positions away, itself included; None for no limit.
    """

    causal: bool
    window: int | None = None

    def allowed(
        self, query_positions: Int[Tensor, " query"], key_positions: Int[Tensor, " key"]
    ) -> Bool[Tensor, "query key"]:
        """True where the query may look at the key."""
        distance = query_positions[:, None] - key_positions[None, :]
        seen = distance >= 0 if self.causal else torch.ones_like(distance, dtype=torch.bool)
        return seen if self.window is None else seen & (distance.abs() < self.window)


def visibility(config: HookedTransformerConfig, layer: int) -> Visibility:
    """The rule that holds in one layer."""
    local = config.use_local_attn and config.attn_types is not None and config.attn_types[layer] == "local"
    return Visibility(config.attention_dir == "causal", config.window_size if local else None)


@dataclass
class AttentionContext:
    """What the attention of every layer needs to know about one run: positions and padding.

    Attributes:
        n_queries: new positions in this run.
        n_past: positions already held by the key-value cache.
        padding: False at padded keys, past ones included; None where nothing is padded.
        device: where masks are made.
        queries: the positions of the queries; None where they are the last ones.
        added: what queries and keys read beside the normalised stream (shortformer positions); None for nothing,
            and in what `some_queries` gives, whose queries and keys have been read.
    """

    n_queries: int
    n_past: int = 0
    padding: Bool[Tensor, "batch key"] | None = None
    device: torch.device | str = "cpu"
    queries: Int[Tensor, " query"] | None = None
    added: Float[Tensor, "batch pos d_model"] | None = None
    _masks: dict[Visibility, Bool[Tensor, "..."] | None] = field(default_factory=dict)

    def position_ids(self) -> Int[Tensor, "#batch key"]:
        """Each key's position, counted from the first token that is not padding; padding itself counts as 0."""
        if self.padding is None:
            return torch.arange(self.n_past + self.n_queries, device=self.device)[None]
        return (self.padding.long().cumsum(dim=1) - 1).clamp(min=0)

    def some_queries(self, positions: Int[Tensor, " query"], n_keys: int) -> "AttentionContext":
        """The same run seen from some of its positions, which look at the first `n_keys`."""
        padding = None if self.padding is None else self.padding[:, :n_keys]
        if torch.equal(positions, torch.arange(n_keys, device=positions.device)):
            return AttentionContext(n_keys, 0, padding, self.device)
        return AttentionContext(len(positions), n_keys - len(positions), padding, self.device, positions)

    def of_prompts(self, prompts: Int[Tensor, " prompt"]) -> "AttentionContext":
        """The same run with these prompts as its batch; itself where nothing is padded and all prompts are alike."""
        return self if self.padding is None else replace(self, padding=self.padding[prompts], _masks={})

    def is_plainly_causal(self, rule: Visibility) -> bool:
        """Whether the mask is the lower triangle and nothing else, which the fused kernel knows by itself."""
        unpadded = self.padding is None and self.n_past == 0 and self.queries is None
        return rule.causal and unpadded and not self._reaches(rule)

    def mask(self, rule: Visibility) -> Bool[Tensor, "#batch 1 query key"] | None:
        """True where a query may look at a key; None where every query sees every key."""
        if rule not in self._masks:
            self._masks[rule] = self._mask(rule)
        return self._masks[rule]

    def _mask(self, rule: Visibility) -> Bool[Tensor, "#batch 1 query key"] | None:
        if not rule.causal and not self._reaches(rule):
            return None if self.padding is None else self.padding[:, None, None, :].expand(-1, 1, self.n_queries, -1)
        keys = torch.arange(self.n_past + self.n_queries, device=self.device)
        queries = keys[self.n_past :] if self.queries is None else self.queries
        allowed = rule.allowed(queries, keys)[None, None]
        return allowed if self.padding is None else allowed & self.padding[:, None, None, :]

    def _reaches(self, rule: Visibility) -> bool:
        return rule.window is not None and rule.window < self.n_past + self.n_queries
