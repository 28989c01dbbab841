"""The plain engine: one hooked forward pass for each change, on any model of the protocol: the oracle of the other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..hooks import Edit, edited
from ..interventions import add, freeze, patch
from ..metrics import Metric
from ..replacing import Change, Replacement
from ..sites import Cell
from .cost import forward_flops
from .plan import Plan

CHANGES_AT_ONCE = 16
"""Changes whose numbers are told of, and written, together."""

Activations = Mapping[str, Shaped[Tensor, "batch ..."]]


@torch.no_grad()
def activations(
    model: Any, tokens: Int[Tensor, "batch pos"], names: Iterable[str], **options: Any
) -> tuple[Float[Tensor, "batch pos out"], dict[str, Tensor]]:
    """The output of a run, which is its logits unless options say otherwise, and its activation at each point."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def read(activation: Tensor) -> Tensor:
            kept[name] = activation
            return activation

        return read

    with edited(model, {name: keep(name) for name in names}, allow_nonfinite=True):
        output = model(tokens, **options)
    return output, kept


@torch.no_grad()
def run(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    changes: Iterable[Change],
    replacements: Mapping[str, Replacement],
    metrics: Sequence[Metric],
    frozen: Activations | None = None,
) -> Iterable[Float[Tensor, "metric batch"]]:
    """Each metric of each prompt with one change in place, for one change after the other.

    Args:
        replacements: by hook name, what stands in there: whole activations, of which a cell takes its own part.
        frozen: by hook name, activations that stay what they are given here.
    """
    for change in changes:
        logits = changed_logits(model, tokens, change, replacements, frozen)
        yield torch.stack([metric(logits).to(logits.device) for metric in metrics])


@torch.no_grad()
def changed_logits(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    change: Change,
    replacements: Mapping[str, Replacement],
    frozen: Activations | None = None,
) -> Float[Tensor, "batch pos d_vocab"]:
    """The logits of one hooked forward pass with the change in place; arguments as `run`."""
    edits: dict[str | Cell, Edit] = {name: freeze(values) for name, values in (frozen or {}).items()}
    with edited(model, edits | {cell: _edit(cell, replacements[cell.name]) for cell in change}):
        return model(tokens)


def _edit(cell: Cell, replacement: Replacement) -> Edit:
    values = cell.read(replacement.values)
    return add(values) if replacement.added else patch(values)


@dataclass(frozen=True, eq=False)
class Plain:
    """A sweep that is ready to run, one hooked forward pass for each change.

    Attributes:
        model: whose.
        tokens: the prompts whose run is edited.
        changes: what is changed, one after the other.
        replacements: by hook name, what stands in there.
        metrics: what is measured.
        unchanged: the metrics of the unedited run.
        frozen: by hook name, activations that stay what they are given here.
    """

    model: Any
    tokens: Int[Tensor, "prompt pos"]
    changes: Sequence[Change]
    replacements: Mapping[str, Replacement]
    metrics: Sequence[Metric]
    unchanged: Float[Tensor, "metric prompt"]
    frozen: Activations

    @property
    def units(self) -> list[tuple[int, int]]:
        """What is run: a change and a prompt, all prompts of a change at once."""
        return [(change, prompt) for change in range(len(self.changes)) for prompt in range(len(self.tokens))]

    @property
    def chunks(self) -> list[range]:
        """The units that are told of together, by number: those of a few changes."""
        step = CHANGES_AT_ONCE * len(self.tokens)
        n_units = len(self.changes) * len(self.tokens)
        return [range(first, min(first + step, n_units)) for first in range(0, n_units, step)]

    @property
    def plan(self) -> Plan:
        """What a run will cost."""
        flops = len(self.changes) * forward_flops(self.model.cfg, *self.tokens.shape)
        rows = len(self.changes) * self.tokens.numel() * self.model.cfg.n_layers
        return Plan(len(self.changes), len(self.units), len(self.chunks), rows, flops, flops, 0)

    def part(self, chunk: range) -> Float[Tensor, "metric unit"]:
        """Each metric of these units."""
        n_prompts = len(self.tokens)
        changes = self.changes[chunk.start // n_prompts : chunk.stop // n_prompts]
        found = run(self.model, self.tokens, changes, self.replacements, self.metrics, self.frozen)
        return torch.cat(list(found), dim=1)

    def logits(self, number: int) -> Float[Tensor, "prompt pos d_vocab"]:
        """The logits with one of the changes in place."""
        return changed_logits(self.model, self.tokens, self.changes[number], self.replacements, self.frozen)

    @property
    @torch.no_grad()
    def noise_floor(self) -> Float[Tensor, "metric prompt"] | None:
        """How far the metrics move in batches of another size; None where a metric needs all prompts at once.

        Several prompts are run one by one, a single one three times at once.
        """
        n_prompts = len(self.tokens)
        batches = [[prompt] for prompt in range(n_prompts)] if n_prompts > 1 else [[0, 0, 0]]
        seen = []
        for batch in batches:
            mine = [metric.for_prompts(torch.tensor(batch)) for metric in self.metrics]
            logits = self.model(self.tokens[batch])
            values = [metric(logits) for metric in mine if metric is not None]
            if len(values) < len(mine):
                return None
            difference = torch.stack(values) - self.unchanged[:, batch].to(logits.device)
            seen.append(difference.abs().amax(dim=1, keepdim=True))
        return torch.cat(seen, dim=1)
