"""The held-out loss of a model, with the uncertainty that comes from which documents were held out."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .batches import HeldOutWindows
from .transformer import HookedTransformer

_WINDOWS_AT_ONCE = 16


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error."""

    mean: float
    standard_error: float


@dataclass(frozen=True)
class HeldOutLoss:
    """The loss on held-out documents: nats for each token, and bits for each byte of their text.

    Bytes do not depend on the tokenizer, so the second number compares models that have different ones.
    """

    nats_per_token: Estimate
    bits_per_byte: Estimate
    n_tokens: int
    n_documents: int


def held_out_loss(model: HookedTransformer, windows: HeldOutWindows) -> HeldOutLoss:
    """The loss over all windows.

    The document is the unit of the standard errors: tokens of one file resemble one another, and counting each as
    a new observation would make the error several times too small.
    """
    losses = window_losses(model, windows)
    n_documents = int(windows.document.max()) + 1
    nats, tokens = (
        torch.zeros(n_documents, dtype=torch.float64).index_add(0, windows.document, values)
        for values in (losses, windows.n_predicted.double())
    )
    read = tokens > 0
    return HeldOutLoss(
        ratio(nats[read], tokens[read]),
        ratio(nats[read] / math.log(2), windows.n_bytes[:n_documents][read].double()),
        int(tokens.sum()),
        int(read.sum()),
    )


@torch.no_grad()
def window_losses(model: HookedTransformer, windows: HeldOutWindows) -> Float[Tensor, " window"]:
    """The summed loss of each window's own tokens in nats, float64."""
    sums = []
    for start in range(0, len(windows.tokens), _WINDOWS_AT_ONCE):
        tokens = windows.tokens[start : start + _WINDOWS_AT_ONCE]
        losses = model(tokens, return_type="loss", loss_per_token=True).double().cpu()
        counted = torch.arange(losses.shape[1]) < windows.n_predicted[start : start + _WINDOWS_AT_ONCE, None]
        sums.append((losses * counted).sum(dim=1))
    return torch.cat(sums)


def ratio(totals: Float[Tensor, " cluster"], sizes: Float[Tensor, " cluster"]) -> Estimate:
    """The mean over all members of all clusters, sum(totals) / sum(sizes), clusters being what was sampled.

    Source: Cochran (1977), "Sampling Techniques", 6.4: the linearised standard error of a ratio.
    """
    mean = totals.sum() / sizes.sum()
    n = len(totals)
    if n < 2:
        return Estimate(float(mean), math.nan)
    variance = n / (n - 1) * (totals - mean * sizes).square().sum() / sizes.sum().square()
    return Estimate(float(mean), float(variance.sqrt()))


def unigram_entropy(train: Int[Tensor, " token"], windows: HeldOutWindows, d_vocab: int) -> float:
    """The held-out loss, in nats for each token, of the training stream's token frequencies (add-one smoothed)."""
    log_probs = (torch.bincount(train, minlength=d_vocab).double() + 1).div(len(train) + d_vocab).log()
    tokens = windows.tokens[:, 1:]
    counted = torch.arange(tokens.shape[1]) < windows.n_predicted[:, None]
    return float(-log_probs[tokens[counted]].mean())
