"""Induction: a random sequence begins again, and goes on as it did before."""

from collections.abc import Iterator
from random import Random
from typing import Any

import torch

from ...errors import TokensError
from ...repeated_tokens import ordinary_tokens, repeated_random_tokens, start_token
from ..pair import Pair
from ..task import DrawnTask

LONGEST, SHORTEST = 8, 4
"""Tokens of a sequence before it begins again: enough to be found by induction only, few enough to be cheap."""

AT_ONCE = 16
"""Sequences that are drawn at once, which is quicker than one by one."""


def induction(n_prompts: int = 32, seed: int = 0) -> DrawnTask:
    """Random tokens of which the first half begins again; corrupted, the token that comes next was another one.

    Whoever looks back for what followed the last token finds the answer in the clean prompt and the wrong token in the
    corrupted one. The prompts are token ids, so no tokenizer is needed.
    """
    return DrawnTask(
        "induction",
        "Random tokens of which the first half begins again. Answer: what came next before. Corrupted: the first copy "
        "had another token in its place.",
        'Olsson et al. (2022), "In-context Learning and Induction Heads"',
        _pairs,
        n_prompts,
        seed,
    )


def _pairs(model: Any, random: Random) -> Iterator[Pair]:
    n_start = 0 if start_token(model) is None else 1
    length = min(LONGEST, 2 * (model.cfg.n_ctx - n_start) // 3, len(ordinary_tokens(model)) - 1)
    if length < SHORTEST:
        raise TokensError(f"a context of {model.cfg.n_ctx} tokens is too short to repeat {SHORTEST // 2} of {SHORTEST}")
    again = length // 2
    generator = torch.Generator().manual_seed(random.getrandbits(32))
    while True:
        # One token more than the sequence has, to take the place of the answer: different from all others.
        drawn = repeated_random_tokens(model, AT_ONCE, generator, length=length + 1, copies=1).tokens
        for row in drawn.tolist():
            opening, sequence, other = row[:n_start], row[n_start:-1], row[-1]
            changed = [*sequence[:again], other, *sequence[again + 1 :]]
            clean, corrupted = ((*opening, *first, *sequence[:again]) for first in (sequence, changed))
            yield Pair(clean, corrupted, sequence[again], other)
