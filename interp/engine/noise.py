"""The noise floor: how far the metrics of the unedited run move with how many rows are computed at once."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .changes import PlacedEdit, RowReplacement
from .lane_edits import Lane, LaneEdits
from .readout import Readout
from .wave import Wave


@torch.no_grad()
def noise_floor(wave: Wave, readout: Readout, most_lanes: int) -> Float[Tensor, "metric prompt"]:
    """How far apart each prompt's metrics are in the base run and in a wave in which every row is computed anew.

    Nothing is changed in that wave: what is not zero here is rounding, and an effect below it says nothing.

    Args:
        most_lanes: as many fit the memory at once.
    """
    layer, name = min((int(name.split(".")[1]), name) for name in wave.base if name.endswith("hook_resid_pre"))
    base = wave.base[name]
    everywhere = np.ones(base.shape[:2], dtype=bool)
    edit = PlacedEdit(name, layer, "hook_resid_pre", everywhere[0], ((0, base.shape[2]),), everywhere)
    lanes = [Lane(0, prompt, (edit,)) for prompt in range(len(base))]
    most = len(lanes) if readout.whole_batch else max(1, most_lanes)
    parts = []
    for first in range(0, len(lanes), most):
        some = lanes[first : first + most]
        edits = LaneEdits(some, {(layer, "hook_resid_pre"): RowReplacement(base, base)})
        parts.append(readout.values(*wave.stream(edits), np.zeros(len(some), dtype=int)))
    return (torch.cat(parts, dim=1) - readout.unchanged()).abs()
