"""The prompt pairs that patching compares: given texts or rows, repeated random tokens, or the prompts themselves."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import TokensError
from interp.pairing import paired
from interp.repeated_tokens import ordinary_tokens, repeated_random_tokens, start_token

from .errors import NotApplicableError, OptionError
from .labels import token_labels

LONGEST, SHORTEST = 8, 4
"""Tokens of a sequence before it begins again: enough to be found by induction only, few enough to be cheap."""

ENOUGH, MOST_COMPARED = 8, 256
"""Pairs that will do before prompts that differ in more are taken; prompts that are compared with one another."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Prompts that differ in something, and the token that each of the two calls for.

    Attributes:
        clean: the prompts whose behaviour is asked about.
        corrupted: their counterparts, position by position.
        answer: what should come after each clean prompt.
        wrong: what should come after its counterpart.
        labels: what stands at each position, in words.
        origin: where the pairs are from, in words.
    """

    clean: Int[Tensor, "pair pos"]
    corrupted: Int[Tensor, "pair pos"]
    answer: Int[Tensor, " pair"]
    wrong: Int[Tensor, " pair"]
    labels: tuple[str, ...]
    origin: str


def one_pair(
    model: Any,
    clean: Int[Tensor, " pos"],
    corrupted: Int[Tensor, " other_pos"],
    answer: str | None = None,
    wrong: str | None = None,
) -> Pairs:
    """Two given prompts; where a token is not given, what the model itself says after either.

    Raises:
        TokensError, DegenerateBaselineError: as `interp.pairing.paired`.
        OptionError: an answer that is not a single token.
    """
    rows, others = paired(model, clean[None], corrupted[None], broadcast=False)
    said = model(torch.cat([rows, others]))[:, -1].argmax(dim=-1)
    answers, wrongs = (
        said[at : at + 1] if text is None else single_token(model, text).to(said)
        for at, text in enumerate((answer, wrong))
    )
    texts = zip(token_labels(model, clean), token_labels(model, corrupted), strict=True)
    labels = _numbered([one if one == other else f"{one} → {other}" for one, other in texts])
    right, other = token_labels(model, torch.cat([answers, wrongs]))
    whose = "as given" if answer is not None and wrong is not None else "the model's own, where not given"
    compared = (
        f"both call for “{right}”, so whole predictions are compared"
        if right == other
        else f"“{right}” is set against “{other}” ({whose})"
    )
    return Pairs(rows, others, answers, wrongs, labels, f"one pair; {compared}")


def single_token(model: Any, text: str) -> Int[Tensor, " one"]:
    """The text as one token.

    Raises:
        OptionError: it is none, or several; the message lists them.
    """
    tokens = model.to_tokens(text, prepend_bos=False)[0]
    if len(tokens) != 1:
        listed = " ".join(f"[{token}]" for token in token_labels(model, tokens)) or "none"
        spaced = model.to_tokens(f" {text.strip()}", prepend_bos=False)[0]
        hint = f". Did you mean {f' {text.strip()}'!r}, with its space?" if len(spaced) == 1 else ""
        raise OptionError(f"{text!r} must be a single token of the model; it is {len(tokens)}: {listed}{hint}")
    return tokens


def repeated_pairs(model: Any, n_pairs: int, seed: int) -> Pairs:
    """Random tokens of which the first half begins again; corrupted, the token that would come next was another one.

    Whoever looks back for what followed the last token finds the answer in the clean prompt and another token in the
    corrupted one. No text is needed, and nothing else tells the two apart.

    Raises:
        TokensError: the model's context or vocabulary is too small.
    """
    n_start = 0 if start_token(model) is None else 1
    length = min(LONGEST, 2 * (model.cfg.n_ctx - n_start) // 3, len(ordinary_tokens(model)) - 1)
    if length < SHORTEST:
        raise TokensError(f"a context of {model.cfg.n_ctx} tokens is too short to repeat {SHORTEST // 2} of {SHORTEST}")
    # One token more than the sequence has, to take the place of the answer: different from all others.
    drawn = repeated_random_tokens(
        model, n_pairs, torch.Generator().manual_seed(seed), length=length + 1, copies=1
    ).tokens
    sequence, other = drawn[:, n_start:-1], drawn[:, -1]
    again = length // 2
    clean = torch.cat([drawn[:, :n_start], sequence, sequence[:, :again]], dim=1)
    corrupted = clean.clone()
    corrupted[:, n_start + again] = other
    labels = [f"token {at}" for at in range(length)] + [f"token {at} again" for at in range(again)]
    labels[again] = f"token {again} → other"
    return Pairs(
        clean,
        corrupted,
        sequence[:, again],
        other,
        _numbered(["start"] * n_start + labels),
        f"{n_pairs} pairs of {length} random tokens of which the first {again} begin again (seed {seed}); corrupted, "
        f"token {again}, which comes next, was another one",
    )


def nearest_pairs(tokens: Int[Tensor, "prompt pos"], labels: list[list[str]], n_pairs: int) -> Pairs:
    """Prompts without their last token, each beside another one that ends in another token.

    No prompt is in two pairs, so that the pairs are independent. All differ at the same positions, so that a place
    means the same in each: at as few as possible, where that leaves enough pairs.

    Raises:
        NotApplicableError: no two prompts end in different tokens.
    """
    first = _first_of_each(tokens[:MOST_COMPARED, :-1])
    read, last = tokens[first, :-1], tokens[first, -1]
    differs = read[:, None] != read[None]
    usable = differs.any(dim=2) & (last[:, None] != last[None])
    places = differs[usable].unique(dim=0)
    if not len(places):
        raise NotApplicableError(
            "its context is too short for repeated tokens, and of the given prompts no two that differ end in "
            "different tokens: give --clean and --corrupted, or more prompts"
        )
    matched = [_disjoint(usable & (differs == at).all(dim=2)) for at in places]
    counts = [len(found) for found in matched]
    best = min(range(len(places)), key=lambda n: (-min(counts[n], ENOUGH), int(places[n].sum()), -counts[n]))
    rows, partners = torch.tensor(matched[best][:n_pairs], device=tokens.device).unbind(dim=1)
    named = []
    for position in range(read.shape[1]):
        texts = {labels[first[int(row)]][position] for row in rows}
        various = "differs" if places[best][position] else "the same in a pair"
        named.append(texts.pop() if len(texts) == 1 and not places[best][position] else various)
    return Pairs(
        read[rows],
        read[partners],
        last[rows],
        last[partners],
        _numbered(named),
        f"{len(rows)} pairs among the given prompts that end in different tokens and differ at the same positions",
    )


def _first_of_each(rows: Tensor) -> list[int]:
    """Where each different row comes for the first time: the same prompt again would be no other one."""
    seen: dict[tuple[int, ...], int] = {}
    for at, row in enumerate(rows.tolist()):
        seen.setdefault(tuple(row), at)
    return list(seen.values())


def _disjoint(usable: Tensor) -> list[tuple[int, int]]:
    """Pairs of rows that may stand together, no row in two of them."""
    taken: set[int] = set()
    found = []
    for one, other in usable.triu().nonzero().tolist():
        if one not in taken and other not in taken:
            taken |= {one, other}
            found.append((one, other))
    return found


def _numbered(labels: list[str]) -> tuple[str, ...]:
    # Two positions with the same token would be one place on an axis.
    return tuple(f"{position}: {label}" for position, label in enumerate(labels))
