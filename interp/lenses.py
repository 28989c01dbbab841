"""The logit lens: what the model would say if the stream were read out early."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import NonFiniteError, TokensError

LOGITS_AT_ONCE = 2**25
"""How many logits of one site are held at one time; longer prompts are read a stretch of positions at a time."""


@dataclass(frozen=True)
class LensReadings:
    """What the lens says at each site of the stream, beside what the model says in the end.

    Attributes:
        sites: hook names of the streams that were read, in the order of the forward pass; the last is its end.
        next_logit: the logit of the token that really comes next; the last position has none.
        next_log_prob: its log-probability in nats.
        next_rank: how many tokens have a higher logit than it; 0 is best.
        kl: KL(model || lens) in nats, at every position.
        top_token: the token with the highest logit, at every position.
        end_difference: the largest |lens - model| over all logits at the last site.
    """

    sites: tuple[str, ...]
    next_logit: Float[Tensor, "site batch predicted"]
    next_log_prob: Float[Tensor, "site batch predicted"]
    next_rank: Int[Tensor, "site batch predicted"]
    kl: Float[Tensor, "site batch pos"]
    top_token: Int[Tensor, "site batch pos"]
    end_difference: float


def lens_logits(model: Any, stream: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_vocab_out"]:
    """The logits that the model's own final norm, unembedding and soft cap make of a stream.

    Source: nostalgebraist (2020), "interpreting GPT: the logit lens"; Belrose et al. (2023), equation 3.
    """
    logits = model.unembed(model.ln_final(stream))
    cap = getattr(model.cfg, "output_logits_soft_cap", None) or 0.0
    return cap * torch.tanh(logits / cap) if cap > 0 else logits


def stream_sites(model: Any) -> tuple[str, ...]:
    """The names of the stream before the first block, inside each block (where it exists) and after each."""
    names = ["blocks.0.hook_resid_pre"]
    for layer in range(model.cfg.n_layers):
        names += [f"blocks.{layer}.hook_resid_mid", f"blocks.{layer}.hook_resid_post"]
    return tuple(name for name in names if name in model.hook_dict)


def kl_divergence(
    reference: Float[Tensor, "*batch d_vocab"], other: Float[Tensor, "*batch d_vocab"]
) -> Float[Tensor, "*batch"]:
    """KL(reference || other) in nats between the distributions that two sets of logits stand for."""
    p, q = reference.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1)


@torch.no_grad()
def logit_lens(model: Any, tokens: Int[Tensor, "batch pos"], logits_at_once: int = LOGITS_AT_ONCE) -> LensReadings:
    """The lens at every site of the stream.

    Raises:
        TokensError: the tokens have no next token to ask about.
        NonFiniteError: a stream is not finite.
    """
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise TokensError(
            f"the lens asks for the next token: tokens must be [batch, pos >= 2], not {list(tokens.shape)}"
        )
    sites = stream_sites(model)
    logits, cache = model.run_with_cache(tokens, names_filter=list(sites))
    for name in sites:
        if not cache[name].isfinite().all():
            raise NonFiniteError(f"the stream at {name} is not finite: the lens would read NaN")
    # The last position has no next token; what stands in for it is cut off at the end.
    targets = tokens.roll(-1, dims=1)
    step = max(1, logits_at_once // (tokens.shape[0] * logits.shape[-1]))
    stretches = [slice(start, start + step) for start in range(0, tokens.shape[1], step)]
    readings = []
    for name in sites:
        parts = [_read(lens_logits(model, cache[name][:, at]), logits[:, at], targets[:, at]) for at in stretches]
        readings.append([torch.cat(part, dim=1) for part in zip(*parts, strict=True)])
    logit, log_prob, rank, kl, top, difference = (torch.stack(reading) for reading in zip(*readings, strict=True))
    end_difference = float(difference[-1].max())
    return LensReadings(sites, logit[..., :-1], log_prob[..., :-1], rank[..., :-1], kl, top, end_difference)


def _read(
    lens: Float[Tensor, "batch pos d_vocab_out"],
    logits: Float[Tensor, "batch pos d_vocab_out"],
    targets: Int[Tensor, "batch pos"],
) -> tuple[Tensor, ...]:
    logit = lens.gather(-1, targets[..., None])
    log_prob = logit.squeeze(-1) - lens.logsumexp(dim=-1)
    rank = (lens > logit).sum(dim=-1)
    difference = (lens - logits).abs().amax(dim=-1)
    return logit.squeeze(-1), log_prob, rank, kl_divergence(logits, lens), lens.argmax(dim=-1), difference
