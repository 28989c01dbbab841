"""The fewest floating-point operations that an exact sweep by re-computation needs, counted row by row.

Only matrix products count, 2 for each product of two numbers. A row (one position of one prompt with one cell
changed) is counted where the change has reached it *and* the metric reads it in the end; everything else is taken from
the two unedited runs. So nothing is counted before the cell's layer, before its position, before the first token in
which the pair differs, or after the last position that is read; of the last layer only what is read (keys and values of
all changed rows, the rest of the read rows), and of the unembedding only the declared columns. A changed head adds a
rank-`d_head` change to the stream, and asks for no attention at its own layer. An attention product counts each query
with the keys it may see, and not the whole square.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Rows = frozenset[int]


@dataclass(frozen=True)
class Floor:
    """What a cell costs at least, in a causal model of pre-norm blocks.

    Attributes:
        cfg: the model's configuration.
        length: the prompts' number of tokens.
        read: the positions that the metric reads.
        n_columns: the token columns that it reads.
    """

    cfg: Any
    length: int
    read: Rows
    n_columns: int

    def __post_init__(self) -> None:
        cfg = self.cfg
        if cfg.attention_dir != "causal" or cfg.parallel_attn_mlp or cfg.use_local_attn or cfg.norm_placement != "pre":
            raise ValueError("the floor is counted for causal models of sequential pre-norm blocks without a window")

    def cell(self, point: str, at: Mapping[str, int], differ: Sequence[bool]) -> int:
        """The operations of one cell on one prompt; 0 for a cell that cannot matter.

        Args:
            at: the cell's layer and what else is fixed: head, pos.
            differ: the positions at which the prompt's two tokens differ.
        """
        layer = at["layer"]
        changed = self.differing(point, layer, differ) & ({at["pos"]} if "pos" in at else set(range(self.length)))
        if point == "resid_pre":
            return self.from_stream(layer, changed)
        changed &= self.needed(layer)
        match point:
            case "z":
                inside = len(changed) * self.head_output
            case "pattern":
                inside = self.pairs(changed) * 2 * self.cfg.d_head + len(changed) * self.head_output
            case "attn_out" | "resid_mid" | "mlp_out" | "resid_post":
                inside = 0
            case _:
                raise ValueError(f"nobody has counted the operations of a change of {point}")
        if point in ("z", "pattern") and "head" not in at:
            inside *= self.cfg.n_heads
        if point not in ("mlp_out", "resid_post"):
            inside += len(changed) * self.mlp
        return inside + self.from_stream(layer + 1, changed)

    def unedited(self, differ: Sequence[bool]) -> int:
        """The operations of both unedited runs of one prompt, of which the second shares the first one's beginning."""
        everything = frozenset(range(self.length))
        return self.from_stream(0, everything) + self.from_stream(0, frozenset(_where(differ)))

    def from_stream(self, layer: int, changed: Iterable[int]) -> int:
        """The operations from a layer's input to the metric, where that input has changed in these rows.

        Behind the last layer stand the rows that are read, and no others.
        """
        total, rows = 0, frozenset(changed)
        for at in range(layer, self.cfg.n_layers):
            cost, rows = self.block(at, rows)
            total += cost
        return total + len(rows) * 2 * self.cfg.d_model * self.n_columns

    def block(self, layer: int, changed: Rows) -> tuple[int, Rows]:
        """The operations of a block whose input has changed in these rows, and the changed rows of its output."""
        key = (layer == self.cfg.n_layers - 1, changed)
        if key not in self._blocks:
            self._blocks[key] = self._block(layer, changed)
        return self._blocks[key]

    def _block(self, layer: int, changed: Rows) -> tuple[int, Rows]:
        after = frozenset(row for row in self.needed(layer) if changed and row >= min(changed))
        n_keys = sum(row <= max(after, default=-1) for row in changed)
        n_heads, groups = self.cfg.n_heads, self.cfg.n_key_value_heads or self.cfg.n_heads
        projected = n_heads * len(changed & after) + 2 * groups * n_keys
        attention = 2 * n_heads * self.pairs(after) * 2 * self.cfg.d_head
        written = len(after) * (n_heads * self.head_output + self.mlp)
        return projected * 2 * self.cfg.d_model * self.cfg.d_head + attention + written, after

    def differing(self, point: str, layer: int, differ: Sequence[bool]) -> Rows:
        """The rows of the point at which the two unedited runs are not the same."""
        rows = _where(differ)
        if layer == 0 and point == "resid_pre":
            return frozenset(rows)
        # The first query sees itself alone, in any run.
        return frozenset(range(max(min(rows), int(point == "pattern")), self.length))

    def needed(self, layer: int) -> Rows:
        """The rows of the block's output on which the metric depends."""
        return self.read if layer == self.cfg.n_layers - 1 else frozenset(range(max(self.read) + 1))

    def pairs(self, queries: Rows) -> int:
        """The queries with the keys that each of them sees."""
        return sum(row + 1 for row in queries)

    @property
    def head_output(self) -> int:
        """One row of one head through its W_O."""
        return 2 * self.cfg.d_head * self.cfg.d_model

    @property
    def mlp(self) -> int:
        """One row through the feed-forward network."""
        if self.cfg.attn_only:
            return 0
        return 2 * self.cfg.d_model * self.cfg.d_mlp * (3 if self.cfg.gated_mlp else 2)

    @cached_property
    def _blocks(self) -> dict[tuple[bool, Rows], tuple[int, Rows]]:
        return {}


def _where(differ: Sequence[bool]) -> list[int]:
    return [at for at, different in enumerate(differ) if different]
