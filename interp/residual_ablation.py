"""Ablating what the residual connection adds up: four interventions that are all called by that name.

Each is one vector added to one stream. With x the stream that a branch f reads, and r what stands in for the part
that is taken away (zero, its mean over prompts, or its value on another prompt):

* branch removed: x + f becomes x + r;
* branch scaled: x + f becomes x + r + alpha (f - r);
* skip removed: x + f becomes r + f, r in the place of x;
* edge hidden: one reader sees x - w + r, where w is what one earlier writer wrote; everybody else sees x.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import TokensError
from .hooks import Edit, Place, edited
from .interventions import add

Replacement = Literal["zero", "mean", "resample"]
REPLACEMENTS: tuple[Replacement, ...] = get_args(Replacement)

EMBEDDING: Literal["embedding"] = "embedding"
LOGITS: Literal["logits"] = "logits"


@dataclass(frozen=True)
class Branch:
    """One component that reads the stream and writes into it.

    Attributes:
        label: "0 attn", "0 mlp".
        layer: its block.
        reads: the stream it reads, a hook name.
        writes: what it writes, a hook name.
        after: the stream that holds what it wrote.
    """

    label: str
    layer: int
    reads: str
    writes: str
    after: str


Writer = Branch | Literal["embedding"]
Reader = Branch | Literal["logits"]


@dataclass(frozen=True, eq=False)
class Ablation:
    """A vector added to one stream or branch, and perhaps taken away again further on.

    Attributes:
        layer: the first block that runs otherwise than before.
        at: where the vector is added.
        delta: the vector.
        until: the stream from which it is taken away again, or None.
        seen: the stream whose change of length tells how far out of the ordinary the intervention is.
    """

    layer: int
    at: str
    delta: Float[Tensor, "batch pos d_model"]
    until: str | None
    seen: str


def branches(model: Any) -> list[Branch]:
    """The attention layers and MLPs of the model, in the order in which they run."""
    found = []
    for layer in range(model.cfg.n_layers):
        pre, mid, post = (f"blocks.{layer}.hook_resid_{place}" for place in ("pre", "mid", "post"))
        sequential = mid in model.hook_dict
        found.append(Branch(f"{layer} attn", layer, pre, f"blocks.{layer}.hook_attn_out", mid if sequential else post))
        if f"blocks.{layer}.hook_mlp_out" in model.hook_dict:
            found.append(
                Branch(f"{layer} mlp", layer, mid if sequential else pre, f"blocks.{layer}.hook_mlp_out", post)
            )
    return found


def streams(model: Any) -> list[str]:
    """The hook names whose clean activations the interventions are made from."""
    return list(dict.fromkeys(name for b in branches(model) for name in (b.reads, b.writes, b.after)))


def replacement(values: Float[Tensor, "batch pos ..."], kind: Replacement) -> Float[Tensor, "batch pos ..."]:
    """What stands in for the values: zero, their mean over the prompts at each position, or the next prompt's.

    Raises:
        TokensError: a mean or another prompt's value is asked for, and there is one prompt only.
    """
    if kind == "zero":
        return torch.zeros_like(values)
    if len(values) < 2:
        raise TokensError(f"{kind} ablation needs at least two prompts, and there is one: it would change nothing")
    return values.mean(dim=0).expand_as(values) if kind == "mean" else values.roll(1, dims=0)


def branch_scaled(branch: Branch, clean: Mapping[str, Tensor], kind: Replacement, alpha: float = 0.0) -> Ablation:
    """The branch f as r + alpha (f - r); with alpha = 0 it is removed, with alpha = 1 nothing changes."""
    values = clean[branch.writes]
    delta = (1 - alpha) * (replacement(values, kind) - values)
    return Ablation(branch.layer, branch.writes, delta, None, branch.after)


def skip_removed(branch: Branch, clean: Mapping[str, Tensor], kind: Replacement, skip_scale: float = 1.0) -> Ablation:
    """The stream that goes past the branch as r, so that only what the branch wrote goes on.

    Where attention and MLP stand side by side in a block, the stream goes past both.

    Args:
        skip_scale: what the block multiplies the stream with before adding (DeepNorm).
    """
    values = clean[branch.reads]
    return Ablation(branch.layer, branch.writes, skip_scale * (replacement(values, kind) - values), None, branch.after)


def edge_hidden(
    writer: Writer,
    reader: Reader,
    clean: Mapping[str, Tensor],
    kind: Replacement,
    last: Branch,
) -> Ablation:
    """What the writer wrote as r for one reader alone; the stream goes on past the reader as it was.

    Only for pre-norm blocks, where a reader sees a sum. Where attention and MLP stand side by side, both are the
    reader.

    Args:
        last: the last branch of the model, behind which the logits read.
    """
    values = clean["blocks.0.hook_resid_pre" if isinstance(writer, str) else writer.writes]
    delta = replacement(values, kind) - values
    if isinstance(reader, str):
        return Ablation(last.layer, last.after, delta, None, last.after)
    return Ablation(reader.layer, reader.reads, delta, reader.after, reader.reads)


def placebo(ablation: Ablation, generator: torch.Generator) -> Ablation:
    """The same intervention in a random direction, drawn for each prompt and position, of the same length."""
    noise = torch.randn(ablation.delta.shape, generator=generator, dtype=torch.float64).to(ablation.delta)
    directions = torch.nn.functional.normalize(noise, dim=-1)
    length = ablation.delta.norm(dim=-1, keepdim=True)
    return Ablation(ablation.layer, ablation.at, length * directions, ablation.until, ablation.seen)


@torch.no_grad()
def ablated(model: Any, ablation: Ablation, clean: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The logits under the ablation, and how much longer the stream it is seen in became (a ratio a prompt).

    Blocks before the ablation are not run again.
    """
    edits: dict[Place, Edit] = {ablation.at: add(ablation.delta)}
    if ablation.until is not None:
        edits[ablation.until] = add(ablation.delta, scale=-1.0)
    with edited(model, edits):
        logits, cache = model.run_with_cache(
            clean[f"blocks.{ablation.layer}.hook_resid_pre"],
            names_filter=[ablation.seen],
            start_at_layer=ablation.layer,
        )
    ratio = cache[ablation.seen].norm(dim=-1) / clean[ablation.seen].norm(dim=-1)
    return logits, ratio.mean(dim=-1)
