"""The tokens that an analysis reads: from prompts, token ids, the model's own sample, or at random."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from models.errors import InputError

from .errors import PairError
from .model_source import ModelSource
from .token_text import visible

ENGLISH = Path(__file__).parent / "english_sample.txt"
N_WINDOWS = 8
WINDOW = 64


@dataclass(frozen=True)
class Prompts:
    """Tokens and where they are from, in words."""

    tokens: Int[Tensor, "batch pos"]
    origin: str


def prompts(model: Any, source: ModelSource, texts: tuple[str, ...] = (), ids: tuple[list[int], ...] = ()) -> Prompts:
    """The given texts or token ids as tokens; without any, the model's own sample, else English, else random tokens.

    A sample text is read in windows, sample rows of token ids as they are. The English text was written for this
    package, so that no model was trained on it; it is read by models whose tokenizer has a token for all of it.

    Raises:
        InputError: prompts of different lengths, too long, or with ids that the model does not have.
        models.errors.TokenizerError: texts for a model without tokenizer.
    """
    if texts:
        rows = [model.to_tokens(text, truncate=False)[0] for text in texts]
        return Prompts(_batch(model, rows), f"{len(rows)} prompt{'s' * (len(rows) > 1)} from the command line")
    if ids:
        return Prompts(_batch(model, [torch.tensor(row) for row in ids]), "token ids from the command line")
    own = source.sample_tokens()
    if own is not None:
        tokens = _batch(model, [torch.tensor(row) for row in own])
        return Prompts(tokens, f"the model's {tokens.shape[0]} held-out rows of {tokens.shape[1]} tokens")
    sample = source.sample()
    if sample is not None and model.tokenizer is not None:
        return windows(model, sample, "the model's held-out sample")
    if _can_write(model, english := ENGLISH.read_text(encoding="utf-8")):
        return windows(model, english, "the package's English sample, because the model has none of its own")
    shape = (N_WINDOWS, min(WINDOW, model.cfg.n_ctx))
    tokens = torch.randint(model.cfg.d_vocab, shape, generator=torch.Generator().manual_seed(0))
    why = "no tokenizer" if model.tokenizer is None else "no sample text, nor tokens to write an English one"
    return Prompts(tokens, f"{shape[0]} × {shape[1]} random tokens, seed 0, because the model has {why}")


def _can_write(model: Any, text: str) -> bool:
    """Whether the model has a tokenizer that loses nothing of the text."""
    if model.tokenizer is None:
        return False
    ids = model.to_tokens(text, prepend_bos=False, truncate=False)[0]
    return len(ids) > 1 and getattr(model.tokenizer, "unk_token_id", None) not in ids.tolist()


def none_given(own: str) -> Prompts:
    """No tokens, for an analysis that reads prompts of its own, which in words are called so."""
    return Prompts(torch.zeros(0, 0, dtype=torch.long), own)


def pair(model: Any, clean: str, corrupted: str) -> Prompts:
    """Two prompts of equal token length, clean first.

    Raises:
        PairError: their lengths differ, or nothing does; the message shows the tokens of both.
    """
    rows = [model.to_tokens(text, truncate=False)[0] for text in (clean, corrupted)]
    shown = [" ".join(f"[{visible(token)}]" for token in model.to_str_tokens(row)) for row in rows]
    if len(rows[0]) != len(rows[1]):
        raise PairError(
            "the prompts of --pair must have the same number of tokens, so that each position has a partner\n"
            f"  clean,     {len(rows[0])} tokens: {shown[0]}\n  corrupted, {len(rows[1])} tokens: {shown[1]}"
        )
    if torch.equal(*rows):
        raise PairError(f"the prompts of --pair are the same tokens, so nothing can be compared: {shown[0]}")
    return Prompts(_batch(model, rows), "a clean and a corrupted prompt from the command line")


def windows(model: Any, text: str, called: str) -> Prompts:
    """Windows spread evenly over a longer text, which in words is called so.

    Raises:
        InputError: a text of fewer than two tokens.
        models.errors.TokenizerError: a model without tokenizer.
    """
    tokens = _windows(model, text, called)
    return Prompts(tokens, f"{_counted(tokens.shape[0], 'window')} of {tokens.shape[1]} tokens of {called}")


def readable(given: Prompts, other: Any, must_be_whole: bool) -> Prompts:
    """The prompts, cut to what another model can read as well.

    Raises:
        InputError: they would have to be cut, and must be whole.
    """
    n, most = given.tokens.shape[1], other.cfg.n_ctx
    if n <= most:
        return given
    if must_be_whole:
        raise InputError(f"the prompt has {n} tokens; the other model reads {most} at most")
    return Prompts(given.tokens[:, :most], f"{given.origin}, cut to the {most} that both models read")


def _counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _batch(model: Any, rows: list[Int[Tensor, " pos"]]) -> Int[Tensor, "batch pos"]:
    lengths = [len(row) for row in rows]
    if len(set(lengths)) > 1:
        raise InputError(
            f"prompts that are analysed together must have the same number of tokens; these have {lengths}. "
            "Run them one by one, or make them equally long"
        )
    if lengths[0] < 2:
        raise InputError("a prompt needs at least two tokens: one to read, one to predict")
    if lengths[0] > model.cfg.n_ctx:
        raise InputError(f"the prompt has {lengths[0]} tokens; the model reads {model.cfg.n_ctx} at most")
    tokens = torch.stack(rows)
    low, high = (int(bound) for bound in tokens.aminmax())
    if low < 0 or high >= model.cfg.d_vocab:
        raise InputError(f"token ids go from 0 to {model.cfg.d_vocab - 1}; given were {low} to {high}")
    return tokens


def _windows(model: Any, text: str, called: str) -> Int[Tensor, "batch pos"]:
    """Windows spread evenly over the text, each with the beginning-of-text token if the model is used to one."""
    ids = model.to_tokens(text, prepend_bos=False, truncate=False)[0]
    bos = [model.tokenizer.bos_token_id] if model.cfg.default_prepend_bos else []
    length = min(WINDOW, model.cfg.n_ctx) - len(bos)
    if len(ids) < 2:
        raise InputError(f"{called} has fewer than two tokens")
    length = min(length, len(ids))
    n_windows = min(N_WINDOWS, len(ids) // length)
    starts = torch.linspace(0, len(ids) - length, n_windows).long()
    windows = torch.stack([ids[start : start + length] for start in starts.tolist()])
    return torch.cat([torch.tensor(bos).long().expand(n_windows, len(bos)), windows], dim=1)
