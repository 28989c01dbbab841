"""The noise floor: how far the metrics of the unedited run move with how many rows are computed at once."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .changes import PlacedEdit, RowReplacement
from .lane_edits import Lane, LaneEdits
from .readout import Readout
from .wave import Wave

COPIES = 3
"""How often each prompt is in the wave that is set beside the base run."""


@torch.no_grad()
def noise_floor(wave: Wave, readout: Readout, most_lanes: int) -> Float[Tensor, "metric prompt"]:
    """The spread of each prompt's metrics over the base run and a wave in which every row is computed, thrice.

    Nothing is changed in that wave: what is not zero here is rounding, and an effect below it says nothing.

    Args:
        most_lanes: as many fit the memory at once.
    """
    layer, name = min((int(name.split(".")[1]), name) for name in wave.base if name.endswith("hook_resid_pre"))
    base = wave.base[name]
    everywhere = np.ones(base.shape[:2], dtype=bool)
    edit = PlacedEdit(name, layer, "hook_resid_pre", everywhere[0], ((0, base.shape[2]),), everywhere)
    copies = max(1, min(COPIES, most_lanes // len(base)))
    lanes = [Lane(copy, prompt, (edit,)) for copy in range(copies) for prompt in range(len(base))]
    most = len(lanes) if readout.whole_batch else max(1, most_lanes)
    parts = []
    for first in range(0, len(lanes), most):
        some = lanes[first : first + most]
        edits = LaneEdits(some, {(layer, "hook_resid_pre"): RowReplacement(base, base)})
        parts.append(readout.values(*wave.stream(edits), np.array([lane.change for lane in some])))
    values = torch.cat(parts, dim=1).unflatten(1, (copies, len(base)))
    seen = torch.cat([values, readout.unchanged()[:, None]], dim=1)
    return seen.amax(dim=1) - seen.amin(dim=1)
