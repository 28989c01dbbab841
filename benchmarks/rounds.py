"""Timing within one process, on a machine whose speed drifts: contestants in turn, in a fresh order each round."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from models.affine import affine

Call = Callable[[], Any]


@dataclass(frozen=True)
class Lap:
    """What one call took, in seconds.

    Attributes:
        wall: as a clock on the wall tells.
        cpu: of all threads of this process together; a busy machine changes it less. On a GPU it says little.
    """

    wall: float
    cpu: float


def timed(call: Call, device: str) -> Lap:
    """What one call takes, until the device has finished."""
    _finish(device)
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    _finish(device)
    return Lap(time.perf_counter() - wall, time.process_time() - cpu)


def interleaved(calls: Mapping[str, Call], repeats: int, device: str, at_most: float) -> dict[str, list[Lap]]:
    """The laps of each call, a round at a time; no further round is begun after `at_most` seconds."""
    laps: dict[str, list[Lap]] = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(0)
    begun = time.perf_counter()
    for done in range(repeats):
        if done and time.perf_counter() - begun > at_most:
            break
        shuffle.shuffle(order)
        for name in order:
            laps[name].append(timed(calls[name], device))
    return laps


class MatrixProducts:
    """Float32 products with GPT-2 small's feed-forward matrices, of several heights: what the machine can do at best.

    Attributes:
        best: for each call, operations a second, the largest of any product: by the clock and by processor time.
    """

    HEIGHTS = (512, 1024, 2048, 4096)
    WIDTH, INNER = 768, 3072

    def __init__(self, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        widest = max(self.HEIGHTS)
        self.factors = [
            (self._random(widest, inner, generator, device), self._random(inner, outer, generator, device))
            for inner, outer in ((self.WIDTH, self.INNER), (self.INNER, self.WIDTH))
        ]
        self.device = device
        self.times = 1 if device == "cpu" else 50
        self.best: dict[str, list[float]] = {"wall": [], "cpu": []}

    def __call__(self) -> None:
        for of in self.best.values():
            of.append(0.0)
        for height in self.HEIGHTS:
            for left, right in self.factors:
                for product in (torch.matmul, affine):  # PyTorch's own choice, and oneDNN where it can be had
                    self._note(product, left[:height], right)

    def _note(self, product: Callable[..., torch.Tensor], left: torch.Tensor, right: torch.Tensor) -> None:
        def several() -> None:
            for _ in range(self.times):
                product(left, right)

        lap = timed(several, self.device)
        operations = self.times * 2 * left.shape[0] * left.shape[1] * right.shape[1]
        self.best["wall"][-1] = max(self.best["wall"][-1], operations / lap.wall)
        self.best["cpu"][-1] = max(self.best["cpu"][-1], operations / lap.cpu)

    @staticmethod
    def _random(rows: int, columns: int, generator: torch.Generator, device: str) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator).to(device)


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
