"""What must hold of any ablation, measured on the very model and prompts of a result."""

from dataclasses import replace

import torch
from torch import Tensor

from interp.component_ablation import Ablations
from interp.engine import plain
from interp.hooks import edited
from interp.interventions import patch
from interp.invariants.invariant import ROUNDING

from .ablation_tables import Measured
from .engine_wording import verified
from .result import Identity

VERIFIED = 4
"""Components whose ablation is run again the plain way."""


def identities(ready: Ablations, found: Measured) -> list[Identity]:
    """Nothing but a component's own values changes nothing, heads add up to their layer, shares to the whole."""
    allowed = ROUNDING.by_dtype[ready.model.cfg.dtype]
    # Where nothing is taken out the loss may be next to nothing; the values compared are those of the ablated runs.
    scale = float((ready.base[:, None] + torch.cat([found.singles, found.layers], dim=1)).abs().max())
    layer = int(found.layers.mean(dim=0).abs().argmax())
    errors = [
        (
            "every component replaced by its own values changes nothing",
            _with_own_values(ready, found),
        ),
        (
            f"all heads of L{layer} taken out at once are its attention replaced by what their stand-ins write",
            _without_attention(ready, layer) - found.layers[:, layer],
        ),
    ]
    if found.shared is not None:
        errors.append(("the shares sum to the joint effect", found.shared.efficiency_error))
    found_errors = [Identity(statement, float(error.abs().max()) / scale, allowed) for statement, error in errors]
    # Plain runs set beside themselves would say nothing.
    if ready.engine == "hooks":
        return found_errors
    alone = [[one] for one in found.components]
    return [*found_errors, *verified([ready.verification(alone, found.singles, VERIFIED)])]


def _with_own_values(ready: Ablations, found: Measured) -> Tensor:
    """The effect of values that are the components' own, run the plain way: the exact engine would not run it."""
    _, own = plain.activations(ready.model, ready.tokens, ready.values)
    change = tuple(one.cell(ready.model) for one in found.components)
    again = replace(ready, values=own).prepared([change]).plain([0])
    return again.part(range(len(ready.tokens)))[0].cpu() - ready.base


def _without_attention(ready: Ablations, layer: int) -> Tensor:
    """The effect when the layer's output, not its heads, is replaced: the stand-ins go through W_O by hand."""
    block = ready.model.blocks[layer]
    z = ready.values[f"blocks.{layer}.attn.hook_z"]
    out = torch.einsum("bphe,hed->bpd", z, block.attn.W_O) + block.attn.b_O
    if ready.model.cfg.use_normalization_before_and_after:
        out = block.ln1_post(out)
    with edited(ready.model, {f"blocks.{layer}.hook_attn_out": patch(out)}):
        return ready.metric(ready.model(ready.tokens)).cpu() - ready.base
