"""Where the checkpoints of one architecture keep each of our weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fused:
    """One stored tensor that holds several of ours side by side along its output axis.

    Attributes:
        by_head: the query, key and value of a head stand together (GPT-NeoX), not those of all heads.
    """

    name: str
    by_head: bool = False


@dataclass(frozen=True)
class Copied:
    """One stored tensor that several of ours begin as, each with a copy of its own."""

    name: str


@dataclass(frozen=True)
class Either:
    """The one of two stored names that is there: files and models in memory call some tensors differently."""

    name: str
    other: str


@dataclass(frozen=True)
class Rows:
    """The rows of a stored tensor from `first` on."""

    name: str
    first: int


Names = Mapping[str | tuple[str, ...], str | Fused | Copied | Either | Rows]
"""Our name, or several that share a tensor, and where it is stored."""


def _lm_head() -> Names:
    return {"unembed.W_U": "lm_head.weight"}


@dataclass(frozen=True)
class Layout:
    """The stored names, by ours.

    Biases of ours that stand in no table are zero: the architecture has none.

    Attributes:
        stream: what stands outside of the blocks.
        block: what stands in a block, without its number.
        head: the unembedding, whose stored name has no prefix.
        base: what stored names begin with, unless only the model without its unembedding was saved.
        blocks: what follows for a block.
        input_first: matrices are stored `[in, out]` (GPT-2), not `[out, in]`; the unembedding never is.
        redundant: a pattern for stored tensors that the config determines: causal masks, rotary frequencies.
    """

    stream: Names
    block: Names
    head: Names = field(default_factory=_lm_head)
    base: str = "model."
    blocks: str = "layers.{layer}."
    input_first: bool = False
    redundant: str = r".*\.rotary_emb\.inv_freq"
