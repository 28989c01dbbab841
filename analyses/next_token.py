"""Which models can be asked about the next token at all, before any number is read off one that cannot."""

from typing import Any

from .errors import NotApplicableError


def another_vocabulary(model: Any) -> str:
    """Why the tokens that are read cannot be what is predicted; empty if they can."""
    n_in, n_out = model.cfg.d_vocab, model.cfg.d_vocab_out
    if n_in == n_out:
        return ""
    return f"its {n_out} outputs are not the {n_in} tokens it reads: it predicts another vocabulary than it reads"


def looks_ahead(model: Any) -> str:
    """Why a next-token loss says nothing although there is one; empty if it says something."""
    if model.cfg.attention_dir != "bidirectional":
        return ""
    return "its attention looks ahead: it has seen the token that it would predict"


def no_next_token(model: Any) -> str:
    """Why this model does not predict the next token; empty if it does."""
    return another_vocabulary(model) or looks_ahead(model)


def require_same_vocabulary(model: Any) -> None:
    """Nothing, if the tokens that are read are those that are predicted.

    Raises:
        NotApplicableError: they are not, so that there is no next-token loss.
    """
    _refuse(another_vocabulary(model))


def require_next_token(model: Any) -> None:
    """Nothing, if the model predicts the next token.

    Raises:
        NotApplicableError: it predicts another vocabulary, or has seen the next token already.
    """
    _refuse(no_next_token(model))


def _refuse(reason: str) -> None:
    if reason:
        raise NotApplicableError(reason)
