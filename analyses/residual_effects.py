"""The effects of the four ablations on loss and logits, prompt by prompt, each beside its placebo."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import NonFiniteError
from interp.residual_ablation import (
    EMBEDDING,
    LOGITS,
    Ablation,
    Branch,
    Reader,
    Replacement,
    Writer,
    ablated,
    branch_scaled,
    branches,
    edge_hidden,
    placebo,
    skip_removed,
    streams,
)
from interp.statistics import over_prompts
from models import HookedTransformer

REMOVED, SCALED, SKIP, EDGE = "branch removed", "branch scaled", "skip removed", "edge hidden"

DRAWS = 3
"""Random directions each ablation is set beside; their spread tells what chance in the directions does."""


@dataclass(frozen=True)
class Cell:
    """One ablation by name.

    Attributes:
        sense: which of the four.
        writer: whose contribution is changed; for a skip, the stream past this branch.
        reader: who sees the change; "all" but for edges.
        replacement: zero, mean or resample.
    """

    sense: str
    writer: str
    reader: str
    replacement: Replacement


@torch.no_grad()
def effects(
    model: HookedTransformer,
    tokens: Int[Tensor, "batch pos"],
    kinds: tuple[Replacement, ...],
    alpha: float,
    generator: torch.Generator,
    scored: Bool[Tensor, " predicted"],
    blocks: Collection[int],
) -> pd.DataFrame:
    """One row a cell: increase of the loss, KL(clean || ablated), ratio of lengths, and the same of the placebos.

    Means over prompts in nats, with 95 % intervals over prompts. A placebo's effect is the mean over its draws, and
    `placebo_kl_nats_least` and `_most` are the draws' own; `excess_kl` is the KL less the placebo's, paired.

    Args:
        scored: the predictions whose loss and KL are averaged; if all, the KL is also that of the last position.
        blocks: those whose branches, skips and edges are ablated.
    """
    logits, cache = model.run_with_cache(tokens, names_filter=streams(model))
    clean = {name: cache[name] for name in streams(model)}
    baseline = _Baseline(logits, tokens, scored)
    cells, measured, draws = [], [], []
    for cell, ablation in _ablations(model, clean, kinds, alpha, blocks):
        changed, ratio = ablated(model, ablation, clean)
        loss, kl = baseline.effect(changed)
        random = (ablated(model, placebo(ablation, generator), clean)[0] for _ in range(DRAWS))
        drawn = torch.stack([torch.stack(baseline.effect(other)) for other in random])
        placebo_loss, placebo_kl = drawn.mean(dim=0)
        cells.append(cell)
        draws.append(drawn[:, 1].mean(dim=-1))
        measured.append(torch.stack([loss, kl, ratio, placebo_loss, placebo_kl, kl - placebo_kl]))
    by_prompt = torch.stack(measured).double().movedim(2, 0).cpu()
    if not by_prompt.isfinite().all():
        bad = cells[int((~by_prompt.isfinite()).any(dim=0).any(dim=1).nonzero()[0])]
        raise NonFiniteError(f"the effect of {bad} is not finite")
    estimate = over_prompts(by_prompt, n_resamples=1000)
    table = pd.DataFrame([vars(cell) for cell in cells])
    for at, name in enumerate(_MEASURED):
        table[name] = estimate.mean[:, at].numpy()
        table[f"{name}_low"], table[f"{name}_high"] = estimate.low[:, at].numpy(), estimate.high[:, at].numpy()
    by_draw = torch.stack(draws).double().cpu()
    table["placebo_kl_nats_least"] = by_draw.amin(dim=1).numpy()
    table["placebo_kl_nats_most"] = by_draw.amax(dim=1).numpy()
    return table


def edges(found: list[Branch]) -> list[tuple[Writer, Reader]]:
    """Every writer, the embedding among them, with everything that reads the stream after it, the logits among them."""
    pairs: list[tuple[Writer, Reader]] = []
    for reader in readers(found):
        before = [w for w in found if w.layer < reader.layer or w.after == reader.reads]
        pairs += [(EMBEDDING, reader), *((writer, reader) for writer in before)]
    return [*pairs, (EMBEDDING, LOGITS), *((writer, LOGITS) for writer in found)]


def readers(found: list[Branch]) -> list[Branch]:
    """One branch for each stream that is read; where attention and MLP read the same one, it stands for both."""
    by_stream: dict[str, Branch] = {}
    for branch in found:
        known = by_stream.get(branch.reads)
        by_stream[branch.reads] = replace(known, label=f"{branch.layer} both") if known else branch
    return list(by_stream.values())


def _ablations(
    model: HookedTransformer,
    clean: dict[str, Tensor],
    kinds: tuple[Replacement, ...],
    alpha: float,
    blocks: Collection[int],
) -> Iterator[tuple[Cell, Ablation]]:
    last = branches(model)[-1]
    found = [branch for branch in branches(model) if branch.layer in blocks]
    for kind in kinds:
        for branch in found:
            yield Cell(REMOVED, branch.label, "all", kind), branch_scaled(branch, clean, kind)
            yield Cell(SCALED, branch.label, "all", kind), branch_scaled(branch, clean, kind, alpha)
        for reader in readers(found):
            skip = skip_removed(reader, clean, kind, model.cfg.residual_scale)
            yield Cell(SKIP, f"past {reader.label}", "all", kind), skip
        if model.cfg.norm_placement == "pre":
            for writer, reads in edges(found):
                cell = Cell(EDGE, _name(writer), _name(reads), kind)
                yield cell, edge_hidden(writer, reads, clean, kind, last)


def _name(end: Branch | str) -> str:
    return end if isinstance(end, str) else end.label


class _Baseline:
    """The clean run, and how far another run's logits are from it: worked out once for hundreds of comparisons."""

    def __init__(
        self,
        logits: Float[Tensor, "batch pos d_vocab_out"],
        tokens: Int[Tensor, "batch pos"],
        scored: Bool[Tensor, " predicted"],
    ) -> None:
        self.targets = tokens[:, 1:, None].to(logits.device)
        self.scored = scored.to(logits.device)
        last = self.scored.all()[None]
        self.compared = torch.cat([self.scored, last])
        log_probs = logits.log_softmax(dim=-1)
        self.probs = log_probs.exp()
        self.negative_entropy = (self.probs * log_probs).sum(dim=-1)
        self.loss = self._loss(log_probs)

    def effect(self, logits: Float[Tensor, "batch pos d_vocab_out"]) -> tuple[Tensor, Tensor]:
        """Increase of the loss and KL(clean || other), means over the scored positions, one number a prompt."""
        log_probs = logits.log_softmax(dim=-1)
        cross = torch.einsum("bpv,bpv->bp", self.probs, log_probs)
        return self._loss(log_probs) - self.loss, (self.negative_entropy - cross)[:, self.compared].mean(dim=1)

    def _loss(self, log_probs: Float[Tensor, "batch pos d_vocab_out"]) -> Float[Tensor, " batch"]:
        return -log_probs[:, :-1].gather(-1, self.targets).squeeze(-1)[:, self.scored].mean(dim=1)


_MEASURED = (
    "loss_increase_nats",
    "kl_nats",
    "norm_ratio",
    "placebo_loss_increase_nats",
    "placebo_kl_nats",
    "excess_kl_nats",
)
