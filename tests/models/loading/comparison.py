"""Two models of the same weights, theirs and ours, on the same tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models import HookedTransformer
from tests.models.loading.in_float64 import continuation, logits_and_streams

N_NEW = 9


@dataclass(frozen=True)
class Compared:
    """The largest absolute differences, and whether the continuations are the same tokens."""

    logits: float
    streams: float
    padded: float
    generation_is_equal: bool
    largest_logit: float
    n_distinct_tokens: int


@torch.no_grad()
def compared(theirs: PreTrainedModel, ours: HookedTransformer) -> Compared:
    """Both models on random tokens, on padded ones, and continuing them with their caches."""
    tokens = torch.randint(1, ours.cfg.d_vocab, (3, ours.cfg.n_ctx - N_NEW), generator=torch.Generator().manual_seed(1))
    their_logits, their_streams = logits_and_streams(theirs, tokens)
    logits, cache = ours.run_with_cache(tokens)
    streams = [cache[f"blocks.{layer}.hook_resid_pre"] for layer in range(ours.cfg.n_layers)]
    # Theirs is given behind the final norm for the last block.
    streams.append(cache["unembed.hook_in"])
    mask = torch.ones_like(tokens)
    mask[1, :4], mask[2, :1] = 0, 0
    padded = tokens * mask
    their_padded, _ = logits_and_streams(theirs, padded, mask)
    written = continuation(theirs, padded, mask, N_NEW)
    return Compared(
        logits=_difference(logits, their_logits),
        streams=max(_difference(ours, theirs) for ours, theirs in zip(streams, their_streams, strict=True)),
        padded=_difference(ours(padded, attention_mask=mask)[mask.bool()], their_padded[mask.bool()]),
        generation_is_equal=torch.equal(written, _continued(ours, padded, mask)),
        largest_logit=float(their_logits.abs().max()),
        n_distinct_tokens=len(written[:, -N_NEW:].unique()),
    )


def _continued(ours: HookedTransformer, tokens: Tensor, mask: Tensor) -> Tensor:
    """Ours, row by row without its padding, which no token marks here."""
    rows = []
    for row, seen in zip(tokens, mask.bool(), strict=True):
        written = ours.generate(row[seen], N_NEW, do_sample=False, stop_at_eos=False, verbose=False)
        rows.append(torch.cat([row[~seen], written[0]]))
    return torch.stack(rows)


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())
