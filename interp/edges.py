"""Edges: what one component sends to another, changed for that reader alone.

A reader's input is the sum of what was written before it. What a sender would have written in the other run is put into
that one sum, so that nothing else is changed until the reader itself has read it: an edge into a head's query computes
that head's queries anew and no other, an edge into the logits needs no block at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .component_ablation import components
from .effects import Direction, Effects
from .engine.support import why_not
from .errors import EngineError, NotASumError, OutOfRangeError, did_you_mean
from .metrics import Metric
from .pairing import paired, tokens_as_text
from .prepared_sweep import Engine, PreparedSweep, points_to_keep
from .progress import shown
from .provenance import run_record
from .replacing import Replacement
from .sites import Cell, site
from .two_runs import TwoRuns, two_runs

EMBEDDING, LOGITS = "embed", "logits"

NOT_BEHIND = "the receiver does not come after the sender"

Stream = Float[Tensor, "prompt pos d_model"]


@dataclass(frozen=True)
class Receiver:
    """What reads the stream: a head's queries, keys or values, an MLP, or the logits.

    Attributes:
        label: "L1H2.q", "L1H2.k" (of grouped heads "L1KV0.k"), "L1MLP", "logits".
        layer: its block; that of the logits is behind the last.
        cell: what is replaced by what it computes from another input.
    """

    label: str
    layer: int
    cell: Cell


def edge_effects(
    model: Any,
    clean: Int[Tensor, "prompt pos"],
    corrupted: Int[Tensor, "corrupted_prompt corrupted_pos"],
    metric: Metric,
    *,
    direction: Direction,
    senders: Sequence[str] | None = None,
    receivers: Sequence[str] | None = None,
    engine: Engine = "wavefront",
    max_memory: int | None = None,
    broadcast: bool = False,
    progress: bool | None = None,
) -> Effects:
    """The effect of each edge: what a sender writes in the other run, read in its place by one receiver alone.

    Everything behind the receiver is computed anew; all other readers of the sender read what they read before.

    Args:
        direction: "denoising" sends what the clean run writes into the corrupted run, "noising" the reverse.
        senders: of "embed", "L0H3" and "L0MLP" only these.
        receivers: of "L1H2.q", "L1H2.k", "L1H2.v" (of grouped heads "L1KV0.k"), "L1MLP" and "logits" only these.
        engine: which engine runs what comes behind the receivers.
        max_memory, broadcast, progress: as `interp.sweep`.

    Raises:
        NotASumError: post-norm blocks, or norms behind attention: what a reader reads is no sum of heads' writes.
        OutOfRangeError: a sender or receiver that the model does not have.
        EngineError: the model is not built of blocks that can be called by themselves, or has hooks.
        The errors of `interp.sweep`.

    Source: Goldowsky-Dill et al. (2023), "Localizing Model Behavior with Path Patching", section 2.
    """
    _require_sum(model)
    _require_engine(why_not(model, (), ()))
    sending = _chosen([EMBEDDING, *map(str, components(model))], senders, "sender")
    every = {one.label: one for one in _receivers(model)}
    reading = [every[label] for label in _chosen(list(every), receivers, "receiver")]
    cells = [(one.cell,) for one in reading]
    _require_engine(why_not(model, cells, ()))
    points = _sender_points(model)
    read = [f"blocks.{layer}.hook_{name}" for layer in range(model.cfg.n_layers) for name in _streams(model, layer)]
    keep = [*read, *dict.fromkeys(one.cell.name for one in reading), *points_to_keep(model, cells, (), engine)]
    runs = two_runs(
        model, *paired(model, clean, corrupted, broadcast), direction, [metric], points.values(), keep, together=True
    )
    values, reasons = [], []
    with shown(len(sending), progress) as advance:
        for sender in sending:
            found, why_dead = _from_sender(runs, sender, points[sender], reading, engine, max_memory)
            values.append(found)
            reasons.append(why_dead)
            advance(1)
    return _effects(runs, sending, reading, torch.stack(values, dim=1), reasons, engine)


def _from_sender(
    runs: TwoRuns, sender: str, point: str, reading: Sequence[Receiver], engine: Engine, max_memory: int | None
) -> tuple[Float[Tensor, "prompt receiver"], list[str | None]]:
    layer, is_head = (-1, False) if sender == EMBEDDING else (int(point.split(".")[1]), "MLP" not in sender)
    behind = [one for one in reading if _reads(runs.model, one, layer, is_head)]
    values = runs.unedited_values[0].cpu()[:, None].repeat(1, len(reading))
    reasons: list[str | None] = [NOT_BEHIND] * len(reading)
    if behind:
        difference = _written(runs.model, sender, point, runs.other) - _written(runs.model, sender, point, runs.base)
        replacements = dict(_recomputed(runs, difference, {one.cell.name for one in behind}))
        ready = PreparedSweep(runs, [(one.cell,) for one in behind], replacements, (), engine, max_memory)
        at = [reading.index(one) for one in behind]
        values[:, at] = ready.values()[0]
        for number, reason in zip(at, ready.reasons, strict=True):
            reasons[number] = reason
    return values, reasons


@torch.no_grad()
def _recomputed(runs: TwoRuns, difference: Stream, names: set[str]) -> Iterator[tuple[str, Replacement]]:
    """What the receivers at these points compute from their input with the difference added."""
    model, base = runs.model, runs.base
    # Positions that queries and keys read and the stream does not hold (shortformer).
    added = model.context_of(runs.edited).added
    for layer, block in enumerate(model.blocks):
        own = f"blocks.{layer}."
        if names & {f"{own}attn.hook_{which}" for which in "qkv"}:
            normed = block.read(block.ln1, base[f"{own}hook_resid_pre"] + difference)
            for which, project in (("q", block.attn.queries), ("k", block.attn.keys), ("v", block.attn.values)):
                name = f"{own}attn.hook_{which}"
                if name in names:
                    read = normed if added is None or which == "v" else normed + added
                    yield name, Replacement(base[name], project(read))
        if f"{own}hook_mlp_out" in names:
            read = base[f"{own}hook_{block.mlp_reads}"] + difference
            yield f"{own}hook_mlp_out", Replacement(base[f"{own}hook_mlp_out"], block.mlp_out(read))
    last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    if last in names:
        yield last, Replacement(base[last], base[last] + difference)


def _written(model: Any, sender: str, point: str, run: Mapping[str, Tensor]) -> Stream:
    """What the sender adds to the stream, without the bias that all heads share."""
    if sender == EMBEDDING or "MLP" in sender:
        return run[point]
    head = int(sender.partition("H")[2])
    return run[point][:, :, head] @ model.blocks[int(point.split(".")[1])].attn.W_O[head]


def _reads(model: Any, receiver: Receiver, layer: int, is_head: bool) -> bool:
    if receiver.layer > layer:
        return True
    within = receiver.layer == layer and is_head and receiver.label.endswith("MLP")
    return within and model.blocks[layer].mlp_reads == "resid_mid"


def _receivers(model: Any) -> Iterator[Receiver]:
    for layer, block in enumerate(model.blocks):
        for which in "qkv":
            found = site(model, f"blocks.{layer}.attn.hook_{which}")
            axis = found.axes[2]
            grouped = axis == "kv_head" and found.sizes[2] != model.cfg.n_heads
            for head in range(found.sizes[2] or 0):
                label = f"L{layer}{'KV' if grouped else 'H'}{head}.{which}"
                yield Receiver(label, layer, found.at(**{axis: head}))
        if block.mlp_reads:
            yield Receiver(f"L{layer}MLP", layer, site(model, f"blocks.{layer}.hook_mlp_out").at())
    last = site(model, f"blocks.{model.cfg.n_layers - 1}.hook_resid_post").at()
    yield Receiver(LOGITS, model.cfg.n_layers, last)


def _sender_points(model: Any) -> dict[str, str]:
    return {EMBEDDING: "blocks.0.hook_resid_pre"} | {str(one): one.point for one in components(model)}


def _streams(model: Any, layer: int) -> list[str]:
    return ["resid_pre", *(["resid_mid"] if model.blocks[layer].mlp_reads == "resid_mid" else [])]


def _chosen(known: Sequence[str], wanted: Sequence[str] | None, what: str) -> list[str]:
    if wanted is None:
        return list(known)
    for label in wanted:
        if label not in known:
            raise OutOfRangeError(f"the model has no {what} {label!r}.{did_you_mean(label, known)}")
    if not wanted or len(set(wanted)) < len(wanted):
        raise OutOfRangeError(f"{what}s={list(wanted)} must name at least one, and none twice")
    return list(wanted)


def _require_engine(obstacle: str | None) -> None:
    if obstacle is not None:
        raise EngineError(f"edges cannot be changed one by one here: {obstacle}")


def _require_sum(model: Any) -> None:
    if getattr(model.cfg, "norm_placement", "pre") == "post":
        raise NotASumError(
            "post-norm blocks norm the stream itself, so that a reader's input is no sum of what was written"
        )
    if getattr(model.cfg, "use_normalization_before_and_after", False):
        raise NotASumError("a norm stands behind attention, so that a head's write is no addend of the stream")


def _effects(
    runs: TwoRuns,
    sending: Sequence[str],
    reading: Sequence[Receiver],
    values: Float[Tensor, "prompt sender receiver"],
    reasons: Sequence[Sequence[str | None]],
    engine: Engine,
) -> Effects:
    flat = [reason for row in reasons for reason in row]
    counts = {reason: flat.count(reason) for reason in dict.fromkeys(flat) if reason is not None}
    return Effects(
        point="edges",
        intervention="patch",
        direction=runs.direction,
        metric=runs.metrics[0].name,
        axes=("sender", "receiver"),
        coordinates=(tuple(sending), tuple(one.label for one in reading)),
        values=values,
        clean=runs.clean_values[0].cpu(),
        corrupted=runs.corrupted_values[0].cpu(),
        dead=torch.tensor([[reason is not None for reason in row] for row in reasons]),
        notes=tuple(f"{count} of {len(flat)} edges cannot matter: {reason}" for reason, count in counts.items()),
        engine=engine,
        tokens_clean=tokens_as_text(runs.model, runs.clean),
        tokens_corrupted=tokens_as_text(runs.model, runs.corrupted),
        provenance=run_record(runs) | {"point": "edges", "engine": engine},
    )
