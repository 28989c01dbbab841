"""What must hold of any patching, measured on the very pairs and metric of a result."""

from typing import Any

from torch import Tensor

from interp.effects import Effects
from interp.engine import plain
from interp.hooks import edited as edited_by
from interp.interventions import patch
from interp.invariants.invariant import ROUNDING
from interp.metrics import Metric
from interp.sites import Cell, site

from .patching_pairs import Pairs
from .patching_tables import Maps
from .result import Identity


def identities(model: Any, pairs: Pairs, metric: Metric, maps: Maps, streams: Effects) -> list[Identity]:
    """All patched is the other run, a patch of the run's own values is nothing, and dead cells do nothing when run.

    Args:
        streams: the effects of the whole stream before each block.
    """
    allowed = ROUNDING.by_dtype[model.cfg.dtype]
    # The metric is made of logits, so it is their size that rounding is set against.
    scale = float(model(pairs.clean)[:, -1].double().abs().max())
    denoising = maps.heads.direction == "denoising"
    edited, other = (pairs.corrupted, pairs.clean) if denoising else (pairs.clean, pairs.corrupted)
    whole = streams.values - (streams.base + streams.gap)[:, None]
    heads = site(model, f"blocks.{model.cfg.n_layers - 1}.attn.hook_z").at()
    own = _change(model, edited, edited, heads, metric, streams)
    found = [
        ("the whole stream patched before any block gives the other run", whole),
        ("attention patched with its own values changes nothing", own),
    ]
    dead = _first_dead(model, maps)
    if dead is not None:
        change = _change(model, edited, other, dead, metric, streams)
        found.append(("a cell that cannot matter changes nothing when it is run", change))
    return [Identity(statement, float(error.abs().max()) / scale, allowed) for statement, error in found]


def _change(model: Any, edited: Tensor, source: Tensor, cell: Cell, metric: Metric, streams: Effects) -> Tensor:
    _, values = plain.activations(model, source, [cell.name])
    with edited_by(model, {cell: patch(cell.read(values[cell.name]))}):
        return metric(model(edited)).cpu() - streams.base


def _first_dead(model: Any, maps: Maps) -> Cell | None:
    for effects in maps.places.values():
        if bool(effects.dead.any()):
            layer, position = effects.cells[int(effects.dead.flatten().nonzero()[-1])]
            return site(model, effects.point.replace("*", str(layer))).at(pos=position)
    return None
