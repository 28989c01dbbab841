"""A state dict rewritten part by part: what is being computed with is a part, never a second model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from . import processing_steps as steps
from .config import HookedTransformerConfig
from .processing_steps import State

Finish = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True)
class Rewriting:
    """Which steps are taken, in this order."""

    fold_norms: bool = False
    center_readers: bool = False
    center_writers: bool = False
    center_unembed: bool = False
    fold_value_biases: bool = False
    refactor: bool = False

    def unties(self, config: HookedTransformerConfig, state: State) -> bool:
        """Whether a tied unembedding becomes a matrix of its own, because it or the embedding is changed."""
        if not config.tie_word_embeddings or "unembed.W_U" in state:
            return False
        return self.center_writers or self.center_unembed or (self.fold_norms and "ln_final.w" in state)


def rewrite(
    config: HookedTransformerConfig,
    state: State,
    rewriting: Rewriting,
    finish: Finish,
    *,
    least: torch.dtype = torch.float32,
    owned: bool = False,
) -> State:
    """The rewritten weights: each part computed with in `least` or something finer, and rounded once, by `finish`.

    Args:
        state: emptied on the way, so that whatever nobody else holds is given back.
        finish: each entry as it is to be, by name.
        owned: whether the tensors of `state` may be changed in place. Without it they are copied, part by part.

    Raises:
        CheckpointError: an entry that a step needs is not there.
    """
    if rewriting.unties(config, state):
        state["unembed.W_U"] = steps.entry(state, "embed.W_E").T.clone()
    head, others, blocks = _names(config, state)
    rewritten: State = {}

    def rewrite_part(names: Iterable[str], step: Callable[[State], None]) -> None:
        part = _widened({name: state.pop(name) for name in names if name in state}, least, owned)
        step(part)
        for name in list(part):
            rewritten[name] = finish(name, part.pop(name))

    rewrite_part(head, partial(_rewrite_head, config, rewriting))
    for name in others:
        rewrite_part([name], partial(_rewrite_other, config, rewriting, name))
    for layer, names in enumerate(blocks):
        rewrite_part(names, partial(_rewrite_block, config, rewriting, layer))
    return rewritten


def _names(config: HookedTransformerConfig, state: State) -> tuple[list[str], list[str], list[list[str]]]:
    """The names of what stands behind the blocks, of everything else outside of them, and of each block."""
    blocks: dict[str, list[str]] = {f"blocks.{layer}": [] for layer in range(config.n_layers)}
    outside: list[str] = []
    for name in state:
        blocks.get(".".join(name.split(".")[:2]), outside).append(name)
    head = [name for name in outside if name.startswith(("ln_final.", "unembed."))]
    return head, sorted({*outside, *steps.embeddings(config)} - {*head}), list(blocks.values())


def _widened(part: State, least: torch.dtype, owned: bool) -> State:
    """The part in one dtype, in memory that may be written to. It is emptied on the way."""
    numbers = [value.dtype for value in part.values() if value.is_floating_point()]
    dtype = reduce(torch.promote_types, numbers, least)
    return {
        name: value.to(dtype, copy=not owned) if value.is_floating_point() else value
        for name, value in ((name, part.pop(name)) for name in list(part))
    }


def _rewrite_head(config: HookedTransformerConfig, rewriting: Rewriting, head: State) -> None:
    if rewriting.fold_norms:
        steps.fold_final_norm(config, head, rewriting.center_readers)
    if rewriting.center_unembed:
        steps.center_unembedding(head)


def _rewrite_other(config: HookedTransformerConfig, rewriting: Rewriting, name: str, part: State) -> None:
    if rewriting.center_writers and name in steps.embeddings(config):
        steps.center_writers(part, [name])


def _rewrite_block(config: HookedTransformerConfig, rewriting: Rewriting, layer: int, block: State) -> None:
    if rewriting.fold_norms:
        steps.fold_norms_of_block(config, block, layer, rewriting.center_readers)
    if rewriting.center_writers:
        steps.center_writers(block, steps.writers_of_block(config, layer))
    if rewriting.fold_value_biases:
        steps.fold_value_biases_of_block(config, block, layer)
    if rewriting.refactor:
        steps.refactor_block(config, block, layer)
