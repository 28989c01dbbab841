"""Ablating any set of heads and MLPs at once: what each of them writes is replaced by something that says nothing."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from . import replacing
from .effects import Verification
from .engine import plain
from .engine.support import why_not
from .errors import EmptyMatchError, OutOfRangeError, TokensError
from .metrics import Metric
from .pairing import fitting_reference
from .prepared_sweep import Engine, PreparedSweep, points_to_keep
from .residual_ablation import Replacement, replacement
from .sites import Cell, site
from .two_runs import TwoRuns


@dataclass(frozen=True, order=True)
class Component:
    """A head, or the MLP of a block.

    Attributes:
        layer: its block, from 0.
        head: which head; None for the MLP.
    """

    layer: int
    head: int | None = None

    def __str__(self) -> str:
        return f"L{self.layer}MLP" if self.head is None else f"L{self.layer}H{self.head}"

    @property
    def point(self) -> str:
        """The hook name of what it writes: of a head before it is turned by W_O, so that no bias is taken away."""
        return f"blocks.{self.layer}.hook_mlp_out" if self.head is None else f"blocks.{self.layer}.attn.hook_z"

    def cell(self, model: Any) -> Cell:
        """Where its output stands."""
        found = site(model, self.point)
        return found.at() if self.head is None else found.at(head=self.head)


def components(model: Any) -> list[Component]:
    """Every head and MLP of the model, block by block."""
    found = []
    for layer in range(model.cfg.n_layers):
        found += [Component(layer, head) for head in range(model.cfg.n_heads)]
        if f"blocks.{layer}.hook_mlp_out" in model.hook_dict:
            found.append(Component(layer))
    return found


def component(model: Any, name: str) -> Component:
    """The component of that name: "L0H3", or "L0MLP".

    Raises:
        OutOfRangeError: no such component; the message says which there are.
    """
    read = re.fullmatch(r"L(\d+)(?:H(\d+)|MLP)", name.strip(), flags=re.IGNORECASE)
    found = Component(int(read[1]), None if read[2] is None else int(read[2])) if read else None
    known = components(model)
    if found not in known:
        raise OutOfRangeError(
            f"{name!r} is no component; the heads are L0H0 to L{model.cfg.n_layers - 1}H{model.cfg.n_heads - 1}"
            + (f", the MLPs L0MLP to {known[-1]}" if known[-1].head is None else ", and there are no MLPs")
        )
    return found


@dataclass(frozen=True, eq=False)
class Ablations:
    """A model on some prompts, whose components can be taken out in any combination.

    Attributes:
        tokens: the prompts on which effects are measured.
        metric: what is measured.
        values: by hook name, what stands in for what is written there.
        base: the metric with nothing taken out.
    """

    model: Any
    tokens: Int[Tensor, "prompt pos"]
    metric: Metric
    values: Mapping[str, Float[Tensor, "prompt pos ..."]]
    base: Float[Tensor, " prompt"]

    def effect(self, taken: Collection[Component]) -> Float[Tensor, " prompt"]:
        """The metric of each prompt with all of these taken out at once, less that with nothing taken out."""
        return self.effects([taken])[:, 0]

    @torch.no_grad()
    def effects(self, sets: Iterable[Collection[Component]]) -> Float[Tensor, "prompt set"]:
        """The effect of each set on each prompt; all sets are run together where the model allows it."""
        return self.prepared(self._changes(sets)).values()[0] - self.base[:, None]

    @torch.no_grad()
    def verification(
        self, sets: Sequence[Collection[Component]], effects: Float[Tensor, "prompt set"], n_sets: int
    ) -> Verification:
        """How far the effects of some sets, drawn at random, are from those of one hooked forward pass for each.

        Raises:
            VerificationError: further than rounding explains.
        """
        values = effects + self.base[:, None]
        return self.prepared(self._changes(sets)).verification(values[None], n_sets, seed=0)

    @cached_property
    @torch.no_grad()
    def noise_floor(self) -> Float[Tensor, " prompt"] | None:
        """How far each prompt's metric moves, with nothing taken out, with how many rows are computed at once."""
        floor = self.prepared([self._everything]).running.noise_floor
        return None if floor is None else floor[0].cpu()

    def _changes(self, sets: Iterable[Collection[Component]]) -> list[replacing.Change]:
        return [tuple(one.cell(self.model) for one in sorted(set(taken), key=str)) for taken in sets]

    def prepared(self, changes: Sequence[replacing.Change]) -> PreparedSweep:
        """The changes, ready to run: a sweep of one run, with what stands in in the place of another run."""
        run = self._run
        replacements = {name: replacing.Replacement(run.base[name], self.values[name]) for name in self.values}
        return PreparedSweep(run, changes, replacements, [], self.engine)

    @cached_property
    def engine(self) -> Engine:
        """The engine that runs the sets: the exact one where the model allows it."""
        return "hooks" if why_not(self.model, [self._everything], []) else "wavefront"

    @cached_property
    def _run(self) -> TwoRuns:
        keep = points_to_keep(self.model, [self._everything], [], self.engine)
        logits, activations = plain.activations(self.model, self.tokens, dict.fromkeys([*self.values, *keep]))
        base = self.base.to(logits.device)[None]
        return TwoRuns(
            self.model, self.tokens, self.tokens, "noising", (self.metric,), logits, activations, {}, base, base
        )

    @cached_property
    def _everything(self) -> replacing.Change:
        return tuple(one.cell(self.model) for one in components(self.model))


@torch.no_grad()
def ablations(
    model: Any,
    tokens: Int[Tensor, "prompt pos"],
    metric: Metric,
    kind: Replacement,
    reference: Int[Tensor, "reference reference_pos"] | None = None,
) -> Ablations:
    """The model ready to have its components taken out.

    Args:
        kind: what stands in for what a component writes: zero; the mean over the reference at each position; or, with
            "resample", its value on another prompt of the reference, the next one.
        reference: the prompts of mean and resample; by default the prompts themselves.

    Raises:
        TokensError: mean or resample with a single reference prompt, or resample with fewer than there are prompts.
        EmptyMatchError: the model has no component.
    """
    names = list(dict.fromkeys(one.point for one in components(model)))
    if not names:
        raise EmptyMatchError("the model has neither heads nor MLPs")
    base = metric(model(tokens)).cpu()
    reference = tokens if reference is None else fitting_reference(model, reference, tokens)
    if kind == "resample" and len(reference) < len(tokens):
        raise TokensError(f"resample needs a reference prompt for each of {len(tokens)}; there are {len(reference)}")
    _, written = plain.activations(model, reference, names)
    # Zero and mean are the same for every prompt.
    n_values = len(tokens) if kind == "resample" else 1
    values = {name: replacement(written[name], kind)[:n_values] for name in names}
    values = {name: value.expand(len(tokens), *value.shape[1:]) for name, value in values.items()}
    return Ablations(model, tokens, metric, values, base)
