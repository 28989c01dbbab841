"""TransformerLens' rough evaluations. Those that download their text need a network, as they always did."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import evals
from transformer_lens.evals import *  # noqa: F403

from ..errors import InputError

_LARGEST_TOKEN = 20_000


def induction_loss(  # type: ignore[no-redef]  # in the place of TransformerLens'
    model: Any,
    tokenizer: Any = None,
    batch_size: int = 4,
    subseq_len: int = 384,
    prepend_bos: bool | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, ""]:
    """The loss on the second halves of random tokens said twice, drawn by PyTorch's global generator.

    Args:
        device: default: the model's (TransformerLens asks for a GPU).

    Raises:
        InputError: a vocabulary or a context that is too small for what is drawn.
    """
    if model.cfg.d_vocab < _LARGEST_TOKEN:
        raise InputError(
            f"induction_loss draws tokens up to {_LARGEST_TOKEN}, and the vocabulary has {model.cfg.d_vocab}: draw "
            "your own, say them twice, and take the second half of model(tokens, 'loss', loss_per_token=True)"
        )
    if 2 * subseq_len > model.cfg.n_ctx:
        raise InputError(
            f"subseq_len={subseq_len} said twice is more than the context of {model.cfg.n_ctx}; pass a subseq_len of "
            f"at most {model.cfg.n_ctx // 2}"
        )
    return evals.induction_loss(model, tokenizer, batch_size, subseq_len, prepend_bos, device or _device_of(model))


def evaluate_on_dataset(  # type: ignore[no-redef]
    model: Any, data_loader: Any, truncate: int = 100, device: torch.device | str | None = None
) -> float:
    """The mean loss on the loader's batches; `device` is by default the model's."""
    return evals.evaluate_on_dataset(model, data_loader, truncate, device or _device_of(model))


def _device_of(model: Any) -> torch.device:
    return next(model.parameters()).device
