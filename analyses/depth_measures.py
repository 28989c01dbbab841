"""What is measured along the depth, of the model as given and of fresh copies of it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import NonFiniteError
from interp.gradient_flow import gradient_lengths
from interp.lenses import kl_divergence
from interp.over_smoothing import averaged_streams, centred_on_others, mean_cosine, relative_residual, stream_rank
from interp.residual_growth import Growth, growth
from models import HookedTransformer

MEASURES: dict[str, Callable[[Float[Tensor, "place prompt pos d_model"]], Float[Tensor, "place prompt"]]] = {
    "mean_cosine": mean_cosine,
    "centred_cosine": lambda streams: mean_cosine(torch.stack([centred_on_others(stream) for stream in streams])),
    "relative_residual": relative_residual,
    "effective_rank": stream_rank,
}


@dataclass(frozen=True)
class Depth:
    """One set of weights along its depth, prompt by prompt.

    Attributes:
        likeness: each of MEASURES before the first block and after each.
        growth: of the stream's length.
        gradient: |dL/dx| before the first block and after each, over that after the last.
    """

    likeness: Float[Tensor, "measure place prompt"]
    growth: Growth
    gradient: Float[Tensor, "place prompt"]


def streams(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "place batch pos d_model"]:
    """The stream before the first block and after each, in float64.

    Raises:
        NonFiniteError: one is not finite.
    """
    names = ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers))]
    _, cache = model.run_with_cache(tokens, names_filter=names, stop_at_layer=model.cfg.n_layers)
    for name in names:
        if not cache[name].isfinite().all():
            raise NonFiniteError(f"the stream at {name} is not finite: it has neither length nor direction")
    return torch.stack([cache[name].double() for name in names])


def likeness(found: Float[Tensor, "place prompt pos d_model"]) -> Float[Tensor, "measure place prompt"]:
    """Every measure of how alike the positions are."""
    return torch.stack([measure(found) for measure in MEASURES.values()])


def depth(
    model: HookedTransformer,
    tokens: Int[Tensor, "batch pos"],
    found: Float[Tensor, "place batch pos d_model"],
    first: int,
    counted: Bool[Tensor, " predicted"] | None,
) -> Depth:
    """Everything that is measured along the depth; no gradient where there is no loss."""
    if counted is None:
        lengths = torch.full(found.shape[:2], torch.nan, dtype=torch.float64)
    else:
        lengths = gradient_lengths(model, tokens, counted)
    return Depth(likeness(found[:, :, first:]), growth(found), lengths / lengths[-1])


def averaged_likeness(
    start: Float[Tensor, "prompt pos d_model"], n_layers: int, skip: bool, causal: bool, first: int
) -> Float[Tensor, "measure place prompt"]:
    """The same measures of a stream that is only ever averaged."""
    return likeness(averaged_streams(start, n_layers, skip, causal)[:, :, first:])


@torch.no_grad()
def skipped(
    model: HookedTransformer,
    tokens: Int[Tensor, "batch pos"],
    found: Float[Tensor, "place batch pos d_model"],
    counted: Bool[Tensor, " predicted"] | None,
) -> tuple[Float[Tensor, "layer batch"], Float[Tensor, "layer batch"], float]:
    """Increase of the loss and KL(model || without) when a block is left out, and how exact resuming a run is.

    The stream before the block goes on as the stream behind it, so that only later blocks run again. The last number is
    the largest |resumed - whole| over the logits, relative to the largest logit, of runs that leave nothing out.
    """
    clean = model(tokens)
    increases, divergences, errors = [], [], []
    for layer in range(model.cfg.n_layers):
        stream = found[layer].to(model.cfg.dtype)
        logits = model(stream, start_at_layer=layer + 1)
        resumed = model(stream, start_at_layer=layer)
        errors.append((resumed.double() - clean.double()).abs().max() / clean.double().abs().max())
        divergences.append(_counted(kl_divergence(clean.double(), logits.double()), counted).mean(dim=1))
        if counted is not None:
            increases.append(losses(logits, tokens)[:, counted].mean(1) - losses(clean, tokens)[:, counted].mean(1))
        else:
            increases.append(torch.full_like(divergences[-1], torch.nan))
    return torch.stack(increases), torch.stack(divergences), float(torch.stack(errors).max())


def _counted(
    at_each: Float[Tensor, "batch pos"], counted: Bool[Tensor, " predicted"] | None
) -> Float[Tensor, "batch kept"]:
    # The last position has no next token to be right about, but a distribution all the same.
    return at_each if counted is None or counted.all() else at_each[:, :-1][:, counted]


def losses(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch predicted"]:
    """-log p of each next token, in nats, float64."""
    log_probs = logits[:, :-1].double().log_softmax(dim=-1)
    return -log_probs.gather(-1, tokens[:, 1:, None].to(logits.device)).squeeze(-1)
