"""Heads replaced by their mean: as a whole, or only in what one later head reads of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .hooks import Edit
from .interventions import add, mean
from .residual import require_sum
from .sites import Cell, site

Head = tuple[int, int]
"""Layer and head."""

HeadOutputs = Mapping[int, Float[Tensor, "_ pos head d_head"]]
"""hook_z by layer."""


@torch.no_grad()
def head_outputs(model: Any, tokens: Int[Tensor, "sequence pos"], layers: Iterable[int]) -> HeadOutputs:
    """What the heads of these layers put out, before W_O."""
    names = {layer: f"blocks.{layer}.attn.hook_z" for layer in sorted(set(layers))}
    _, cache = model.run_with_cache(tokens, names_filter=list(names.values()))
    return {layer: cache[name] for layer, name in names.items()}


def mean_ablation(model: Any, heads: Sequence[Head], reference: HeadOutputs) -> dict[Cell, Edit]:
    """The edits that replace each head's output by its mean over the reference's sequences, at each position."""
    return {
        site(model, f"blocks.{layer}.attn.hook_z").at(head=head): mean(reference[layer][:, :, head])
        for layer, head in heads
    }


def path_ablation(
    model: Any,
    writers: Sequence[Head],
    readers: Sequence[Head],
    through: Iterable[str],
    outputs: HeadOutputs,
    reference: HeadOutputs,
) -> dict[Cell, Edit]:
    """The edits that hide the writers from the readers alone, on the way straight from one to the other.

    In the stream from which a reader makes its queries ("q"), keys ("k") or values ("v"), what each writer of an
    earlier layer wrote is replaced by its mean over the reference's sequences, before the norm. Everybody else sees
    the stream as it was. Source: Goldowsky-Dill et al. (2023), path patching, with the mean in the place of a
    counterfactual.

    Args:
        model: with split inputs of queries, keys and values, one for each query head.
        outputs: of the run that is edited; it must not be edited otherwise.

    Raises:
        NotASumError: post-norm blocks, where the stream is no sum.
        PointOffError: the model's inputs are not split.
    """
    require_sum(model)
    edits: dict[Cell, Edit] = {}
    for layer, head in readers:
        earlier = [(before, writer) for before, writer in writers if before < layer]
        if not earlier:
            continue
        change = torch.stack([_change(model, *writer, outputs, reference) for writer in earlier]).sum(dim=0)
        for letter in through:
            axis = "head" if letter == "q" else "kv_head"
            edits[site(model, f"blocks.{layer}.hook_{letter}_input").at(**{axis: head})] = add(change)
    return edits


def _change(
    model: Any, layer: int, head: int, outputs: HeadOutputs, reference: HeadOutputs
) -> Float[Tensor, "sequence pos d_model"]:
    own, others = outputs[layer][:, :, head], reference[layer][:, :, head]
    return (others.mean(dim=0) - own) @ model.W_O[layer, head]
