"""How long a forward pass takes at several lengths, with and without a look at the patterns, and what grows how."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.cost import Cost
from models import HookedTransformer

LEAST_ROUNDS, MOST_ROUNDS = 5, 15
_SHORTEST = 16
"""The longest prompts are not made shorter than this to save time."""


@dataclass(frozen=True)
class Times:
    """Seconds of one forward pass of one prompt, for each round and length: processor time, on a GPU elapsed time.

    Attributes:
        lengths: positions of the prompts.
        fused: with nobody looking at the patterns.
        materialised: with the patterns kept, so that they must be computed as such.
        logit_difference: the largest |fused - materialised| over all logits and lengths, over the largest logit.
    """

    lengths: tuple[int, ...]
    fused: Float[np.ndarray, "round length"]
    materialised: Float[np.ndarray, "round length"]
    logit_difference: float


@dataclass(frozen=True)
class Fit:
    """Seconds as constant + by_position T + by_pair T^2, none of them negative."""

    constant: float
    by_position: float
    by_pair: float

    def at(self, n_positions: int) -> float:
        """The seconds of a prompt of that length."""
        return self.constant + self.by_position * n_positions + self.by_pair * n_positions**2

    def share_of_pairs(self, n_positions: int) -> float:
        """The share of the T^2 term."""
        return self.by_pair * n_positions**2 / self.at(n_positions)


@torch.no_grad()
def times(model: HookedTransformer, cost: Cost, seconds: float) -> Times:
    """The times of prompts up to the context's length, or as long as `seconds` for all of it allow."""
    longest = _affordable(model, cost, seconds)
    lengths = sizes(longest)
    prompts = [_prompt(model, length) for length in lengths]
    differences = [_difference(model, prompt) for prompt in prompts]
    fused: list[list[float]] = []
    materialised: list[list[float]] = []
    while len(fused) < LEAST_ROUNDS or (len(fused) < MOST_ROUNDS and _spent(fused, materialised) < seconds):
        # In turns, so that a busy moment of the machine does not fall on one kind or one length alone.
        both = [(_timed(model, prompt), _timed(_looking, model, prompt)) for prompt in prompts]
        fused.append([pair[0] for pair in both])
        materialised.append([pair[1] for pair in both])
    return Times(lengths, np.array(fused), np.array(materialised), max(differences))


def sizes(longest: int) -> tuple[int, ...]:
    """Up to seven lengths, each about double the one before, and one between the last two."""
    halves = {max(1, longest // 2**power) for power in range(6)} | {max(1, 3 * longest // 4)}
    return tuple(sorted(halves))


def fit(lengths: tuple[int, ...], seconds: Float[np.ndarray, " length"]) -> Fit:
    """The least squares of the relative errors over the three terms, none of which may be negative.

    With three terms every subset can be tried: the best whose numbers are all positive is the constrained optimum.
    """
    terms = np.stack([np.ones(len(lengths)), np.array(lengths), np.square(lengths)], axis=1) / seconds[:, None]
    best, least = np.zeros(3), np.inf
    for count in (1, 2, 3):
        for chosen in combinations(range(3), count):
            columns = terms[:, chosen]
            solution = np.linalg.lstsq(columns, np.ones(len(lengths)), rcond=None)[0]
            error = float(np.square(columns @ solution - 1).sum())
            if (solution >= 0).all() and error < least:
                best, least = np.zeros(3), error
                best[list(chosen)] = solution
    return Fit(*(float(value) for value in best))


def _spent(*kinds: list[list[float]]) -> float:
    return sum(sum(seconds) for rounds in kinds for seconds in rounds)


def _affordable(model: HookedTransformer, cost: Cost, seconds: float) -> int:
    # Upwards, so that no length is run that would itself take longer than everything may.
    longest = min(_SHORTEST, model.cfg.n_ctx)
    while longest < model.cfg.n_ctx:
        longer = min(2 * longest, model.cfg.n_ctx)
        prompt = _prompt(model, longest)
        rate = min(_timed(model, prompt) for _ in range(2)) / cost.at(longest)
        if 2 * LEAST_ROUNDS * rate * sum(cost.at(length) for length in sizes(longer)) > seconds:
            break
        longest = longer
    return longest


def _prompt(model: HookedTransformer, length: int) -> Int[Tensor, "1 pos"]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(model.cfg.d_vocab, (1, length), generator=generator).to(model.W_E.device)


def _looking(model: HookedTransformer, prompt: Int[Tensor, "1 pos"]) -> Float[Tensor, "1 pos d_vocab_out"]:
    logits, _ = model.run_with_cache(prompt, names_filter=lambda name: name.endswith("hook_pattern"))
    return logits


def _difference(model: HookedTransformer, prompt: Int[Tensor, "1 pos"]) -> float:
    fused, materialised = model(prompt).double(), _looking(model, prompt).double()
    return float((fused - materialised).abs().max() / materialised.abs().max())


def _timed(work: Callable[..., object], *arguments: object) -> float:
    if not torch.cuda.is_available():
        # Processor time: what else runs on the machine takes turns with it, and is not counted.
        start = time.process_time()
        work(*arguments)
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work(*arguments)
    torch.cuda.synchronize()
    return time.perf_counter() - start
