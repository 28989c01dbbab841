"""Repeated random tokens: nothing in them can be foreseen, but every later copy by whoever looks back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from .errors import TokensError

LENGTH, COPIES = 25, 4
"""Olsson et al. (2022): 25 random tokens, repeated 4 times."""

LEAST_LENGTH = 3
"""With two tokens the one that followed the earlier copy would also be the previous one."""


@dataclass(frozen=True)
class RepeatedTokens:
    """Rows of a start token, if there is one, and a random sequence several times.

    Attributes:
        tokens: one row a sequence.
        start: how many positions come before the first copy: 1 with a start token, else 0.
        length: tokens of one copy, all different from one another.
        copies: how many copies there are.
    """

    tokens: Int[Tensor, "sequence pos"]
    start: int
    length: int
    copies: int

    def losses_of_copy(self, losses: Tensor, copy: int) -> Tensor:
        """The part of next-token losses `[sequence, pos - 1]` that belongs to one copy, counted from 0.

        The first token of each copy is left out: nothing announces that a repetition begins, and without a start
        token nothing at all comes before the first.

        Raises:
            TokensError: there is no such copy.
        """
        if not 0 <= copy < self.copies:
            raise TokensError(f"copy {copy} is not there: there are {self.copies}, counted from 0")
        first = self.start + copy * self.length
        return losses[:, first : first + self.length - 1]


def repeated_random_tokens(
    model: Any,
    n_sequences: int,
    generator: torch.Generator,
    *,
    length: int | None = None,
    copies: int | None = None,
    among: Sequence[int] | None = None,
) -> RepeatedTokens:
    """Random sequences, each repeated, behind the start token that the model is used to, if any.

    Within a sequence no token comes twice, so that each has exactly one place in every copy. Tokens are drawn
    uniformly; Olsson et al. also leave out the most and least common, which a vocabulary alone does not tell:
    see `among`.

    Source: Olsson et al. (2022), "In-context Learning and Induction Heads", head activation evaluators.

    Args:
        length: tokens of one copy; by default 25, or as many as context and vocabulary allow.
        copies: by default 4, or 2 where the context is too short for 4 copies of 25 tokens.
        among: the token ids to draw from; by default all that the model's tokenizer knows but the special ones.

    Raises:
        TokensError: the model's context or vocabulary is too small for what is asked.
    """
    start = start_token(model)
    n_start = 0 if start is None else 1
    if copies is None:
        copies = COPIES if model.cfg.n_ctx >= n_start + COPIES * (length or LENGTH) else 2
    allowed = torch.tensor(sorted(set(ordinary_tokens(model) if among is None else among)))
    length = _fitting_length(model, length, copies, n_start, len(allowed))
    if n_sequences < 1:
        raise TokensError(f"n_sequences={n_sequences} must be at least 1")
    noise = torch.rand(n_sequences, len(allowed), generator=generator, device=generator.device)
    once = allowed[noise.argsort(dim=1)[:, :length].cpu()]
    opening = once.new_full((n_sequences, n_start), start or 0)
    tokens = torch.cat([opening, once.repeat(1, copies)], dim=1).to(getattr(model.cfg, "device", None) or "cpu")
    return RepeatedTokens(tokens, n_start, length, copies)


def start_token(model: Any) -> int | None:
    """The token that the model is used to find before every text; None if there is none, or no tokenizer to tell."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None or not getattr(model.cfg, "default_prepend_bos", True):
        return None
    return tokenizer.bos_token_id


def ordinary_tokens(model: Any) -> list[int]:
    """The tokens that can stand in a text: those of the tokenizer without the special ones; all without tokenizer."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return list(range(model.cfg.d_vocab))
    special = set(tokenizer.all_special_ids)
    return [token for token in range(min(model.cfg.d_vocab, len(tokenizer))) if token not in special]


def _fitting_length(model: Any, length: int | None, copies: int, start: int, n_tokens: int) -> int:
    if copies < 1:
        raise TokensError(f"copies={copies} must be at least 1")
    in_context = (model.cfg.n_ctx - start) // copies
    longest = min(in_context, n_tokens)
    if length is None:
        length = min(LENGTH, longest)
    if LEAST_LENGTH <= length <= longest:
        return length
    limit = (
        f"its context of {model.cfg.n_ctx} holds {copies} copies of at most {in_context} tokens"
        if in_context <= n_tokens
        else f"its vocabulary has {n_tokens} tokens to draw from"
    )
    asked = f"{copies} copies of {max(length, LEAST_LENGTH)} different tokens"
    least = f", and the least is {LEAST_LENGTH}" if length < LEAST_LENGTH else ""
    raise TokensError(f"{asked} do not fit the model: {limit}{least}")
