"""Losses with the blocks left out, or with one of the two matrices put in the place of the other."""

import math

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.lenses import lens_logits
from interp.statistics import over_prompts
from models import HookedTransformer
from models.loss import next_token_loss

from .scored_positions import scored_positions

MODEL = "the model"
DIRECT = "direct path alone"
NULL = "direct path of another token"
UNIFORM = "every token equally likely"
SWAPPED = "W_E^T in the place of W_U"
SCALED = "W_E^T, scaled to W_U's size"


def losses(
    model: HookedTransformer, tokens: Int[Tensor, "batch pos"], draws: int
) -> tuple[pd.DataFrame, Bool[Tensor, " predicted"]]:
    """One row for each way to the logits: its loss, and how much it loses against the model; and where losses count."""
    logits, cache = model.run_with_cache(tokens, names_filter=["unembed.hook_in"])
    final = cache["unembed.hook_in"]
    scored = scored_positions(next_token_loss(logits.double(), tokens, per_token=True), model.cfg.d_vocab)
    nulls = [lens_logits(model, model.embed(_others(tokens, seed))) for seed in range(draws)]
    by_prompt = {
        MODEL: _loss(logits, tokens, scored),
        DIRECT: _loss(lens_logits(model, model.embed(tokens)), tokens, scored),
        NULL: torch.stack([_loss(null, tokens, scored) for null in nulls]).mean(dim=0),
        UNIFORM: torch.full((len(tokens),), math.log(model.cfg.d_vocab), dtype=torch.float64, device=logits.device),
        SWAPPED: _loss(unembedded(model, final, model.W_E.T), tokens, scored),
    }
    if not model.cfg.tie_word_embeddings:
        scale = model.W_U.norm() / model.W_E.norm()
        by_prompt[SCALED] = _loss(unembedded(model, final, scale * model.W_E.T), tokens, scored)
    values = torch.stack(list(by_prompt.values()), dim=1).cpu()
    loss, excess = over_prompts(values), over_prompts(values - values[:, :1])
    table = pd.DataFrame(
        {
            "logits_from": list(by_prompt),
            "loss_nats": loss.mean.numpy(),
            "loss_low": loss.low.numpy(),
            "loss_high": loss.high.numpy(),
            "over_the_model_nats": excess.mean.numpy(),
            "over_the_model_low": excess.low.numpy(),
            "over_the_model_high": excess.high.numpy(),
        }
    )
    return table, scored


def unembedded(
    model: HookedTransformer, final: Float[Tensor, "batch pos d_model"], W_U: Float[Tensor, "d_model d_vocab"]
) -> Float[Tensor, "batch pos d_vocab"]:
    """The logits that another unembedding matrix makes of the normalised last stream, with the model's bias and cap."""
    logits = final @ W_U + model.b_U
    cap = model.cfg.output_logits_soft_cap
    return cap * torch.tanh(logits / cap) if cap > 0 else logits


def _others(tokens: Int[Tensor, "batch pos"], seed: int) -> Int[Tensor, "batch pos"]:
    """The same tokens at other places."""
    order = torch.randperm(tokens.numel(), generator=torch.Generator().manual_seed(seed))
    return tokens.flatten()[order.to(tokens.device)].reshape(tokens.shape)


def _loss(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"], scored: Bool[Tensor, " predicted"]
) -> Float[Tensor, " batch"]:
    return next_token_loss(logits.double(), tokens, per_token=True)[:, scored].mean(dim=1)
