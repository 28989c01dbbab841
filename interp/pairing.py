"""Clean and corrupted prompts, checked before anything is run: partners, differences, and a metric that sees them."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import DegenerateBaselineError, TokensError

Prompts = Int[Tensor, "prompt pos"]


def paired(model: Any, clean: Tensor, corrupted: Tensor, broadcast: bool) -> tuple[Prompts, Prompts]:
    """Both as they were given, or the single one repeated where `broadcast` allows it.

    Raises:
        TokensError: prompts that have no partner, position by position; the message shows both.
        TokensError: ids that are no tokens of the model; the message names the prompt and the position.
        DegenerateBaselineError: a prompt that is the same in both runs.
    """
    for name, tokens in (("clean", clean), ("corrupted", corrupted)):
        if not isinstance(tokens, Tensor):
            raise TokensError(
                f"the {name} tokens must be a tensor [prompt, pos], not a {type(tokens).__name__}; "
                "torch.tensor makes one of lists of equal length, model.to_tokens of texts"
            )
        if tokens.ndim != 2 or 0 in tokens.shape:
            raise TokensError(f"the {name} tokens must be [prompt, pos] with neither empty, not {list(tokens.shape)}")
        _require_ids(model, name, tokens)
    if clean.shape[1] != corrupted.shape[1]:
        raise TokensError(
            "clean and corrupted prompts must have the same number of tokens, so that each position has a partner\n"
            f"  clean,     {clean.shape[1]} tokens: {shown(model, clean[0])}\n"
            f"  corrupted, {corrupted.shape[1]} tokens: {shown(model, corrupted[0])}"
        )
    if len(clean) != len(corrupted):
        if not broadcast or 1 not in (len(clean), len(corrupted)):
            raise TokensError(
                f"{len(clean)} clean prompts and {len(corrupted)} corrupted ones have no partners; "
                "broadcast=True lets a single one stand for all"
            )
        n_prompts = max(len(clean), len(corrupted))
        clean, corrupted = clean.expand(n_prompts, -1), corrupted.expand(n_prompts, -1)
    same = (clean == corrupted).all(dim=1)
    if bool(same.any()):
        prompt = int(same.nonzero()[0])
        raise DegenerateBaselineError(
            f"prompt {prompt} is the same clean and corrupted, so nothing can be patched: {shown(model, clean[prompt])}"
        )
    return clean, corrupted


def _require_ids(model: Any, name: str, tokens: Tensor) -> None:
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise TokensError(f"the {name} tokens must be whole numbers, not {tokens.dtype}")
    # A model of the protocol need not say how many tokens it has.
    d_vocab = getattr(model.cfg, "d_vocab", 0)
    outside = (tokens < 0) | (tokens >= d_vocab) if d_vocab > 0 else tokens < 0
    if bool(outside.any()):
        prompt, position = outside.nonzero()[0].tolist()
        raise TokensError(
            f"the {name} prompt {prompt} has the token {int(tokens[prompt, position])} at position {position}; the "
            f"vocabulary is 0 to {d_vocab - 1}"
        )


def tokens_as_text(model: Any, tokens: Int[Tensor, "prompt pos"]) -> tuple[tuple[str, ...], ...]:
    """The tokens of each prompt as text; their numbers where the model has no tokenizer."""
    if getattr(model, "tokenizer", None) is None:
        return tuple(tuple(map(str, row)) for row in tokens.tolist())
    return tuple(tuple(model.to_str_tokens(row)) for row in tokens)


def shown(model: Any, row: Int[Tensor, " pos"]) -> str:
    """The tokens of a prompt, as text where the model has a tokenizer."""
    # A model of the protocol need not have a tokenizer.
    if getattr(model, "tokenizer", None) is None:
        return str(row.tolist())
    return " ".join(f"[{token}]" for token in model.to_str_tokens(row))


def require_gap(
    clean: Float[Tensor, " prompt"],
    corrupted: Float[Tensor, " prompt"],
    rounding: Float[Tensor, " prompt"],
    name: str,
) -> None:
    """Nothing, if the metric differs between the runs by more than the logits' rounding.

    Args:
        rounding: what one unit of it moves each prompt's metric by (`interp.rounding.rounding_of`).

    Raises:
        DegenerateBaselineError: it does not.
    """
    difference = abs(float(clean.mean() - corrupted.mean()))
    explained = 4 * float(rounding.mean())
    if difference <= explained:
        why = (
            f"a difference of {difference:.3g} is no more than the logits' rounding explains ({explained:.3g})"
            if difference
            else "there is no difference that a patch could bring back"
        )
        raise DegenerateBaselineError(
            f"the {name} is {float(clean.mean()):.6g} on the clean and {float(corrupted.mean()):.6g} on the "
            f"corrupted prompts: {why}"
        )


def fitting_reference(model: Any, reference: Tensor, edited: Tensor) -> Prompts:
    """The reference prompts.

    Raises:
        TokensError: they have another length than the prompts that are edited, or ids that are no tokens.
    """
    if reference.ndim != 2 or reference.shape[1:] != edited.shape[1:]:
        raise TokensError(
            f"the reference has shape {list(reference.shape)}; it must have the prompts' {edited.shape[1]} positions, "
            f"as {shown(model, edited[0])}"
        )
    _require_ids(model, "reference", reference)
    return reference
