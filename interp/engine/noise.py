"""The noise floor: how far the metrics of the unedited run move with how many rows are computed at once."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .changes import PlacedEdit, RowReplacement
from .lane_edits import Lane, LaneEdits
from .readout import Readout
from .rows import Rows
from .wave import Wave


@torch.no_grad()
def noise_floor(wave: Wave, readout: Readout, most_lanes: int, max_bytes: int) -> Float[Tensor, "metric prompt"]:
    """How far apart each prompt's metrics are in the base run and in a wave in which every row is computed anew.

    Nothing is changed in that wave: what is not zero here is rounding, and an effect below it says nothing.

    Args:
        most_lanes: as many fit the memory at once.
        max_bytes: that memory.
    """
    layer, name = min((int(name.split(".")[1]), name) for name in wave.base if name.endswith("hook_resid_pre"))
    base = wave.base[name]
    everywhere = np.ones(base.shape[:2], dtype=bool)
    edit = PlacedEdit(name, layer, "hook_resid_pre", everywhere[0], ((0, base.shape[2]),), everywhere)
    lanes = [Lane(0, prompt, (edit,)) for prompt in range(len(base))]
    streams, masks = [], []
    for first in range(0, len(lanes), most_lanes):
        edits = LaneEdits(lanes[first : first + most_lanes], {(layer, "hook_resid_pre"): RowReplacement(base, base)})
        stream, rows = wave.stream(edits)
        streams.append(stream)
        masks.append(rows.mask)
    together = Rows(np.concatenate(masks), np.arange(len(base)), wave.device)
    values = readout.values(torch.cat(streams), together, np.zeros(len(base), dtype=int), max_bytes)
    return (values - readout.unchanged()).abs()
