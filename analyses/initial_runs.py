"""Fresh copies of a model's architecture, run with random weights: what attention and loss are before training."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import NonFiniteError
from interp.initialisation import expected_loss, second_order_divergence, uniform_divergence
from interp.invariants.reading import visible as visible_by_config
from models import HookedTransformer, initialise
from models.initialisation import Scheme

SCHEMES: tuple[Scheme, ...] = tuple(scheme for scheme in get_args(Scheme) if scheme != "deepnorm")
_WANTED = ("hook_resid_pre", "attn.hook_attn_scores", "attn.hook_pattern")


@dataclass(frozen=True)
class AttentionAtRandom:
    """Attention of one set of weights on some tokens, beside what theory expects of weights of that size.

    Attributes:
        rows: a row for each layer, head and query that sees two keys or more: `kl_nats` from uniform, averaged over
            prompts; `predicted_nats`, the second-order formula with the actual inputs and size of the weights;
            `log_n`, the logarithm of the number of keys.
        largest_excess: the largest |p - 1/n|.
        score_std: root of the mean variance of the scores over the keys of the last row.
        row_sum_error: the largest |sum of a row - 1|.
        lowest: the smallest entry of any pattern; negative would be wrong.
        masked: the largest |entry| where by the configuration a query may not look; anything but zero would be wrong.
        n_masked: how many such entries the patterns of all layers and heads have together, for one prompt.
    """

    rows: pd.DataFrame
    largest_excess: float
    score_std: float
    row_sum_error: float
    lowest: float
    masked: float
    n_masked: int


@dataclass(frozen=True)
class LossAtRandom:
    """The loss of one set of random weights, and what three formulas make of it, in nats.

    Attributes:
        measured: the mean next-token loss.
        closed_form: ln V + variance / 2, from the sizes of the final stream and of the unembedding alone.
        general: the exact law of normal logits with their actual variance, and the read token's own logit.
        variance: the logits' variance that the sizes predict: d_model s^2 behind a final norm.
    """

    measured: float
    closed_form: float
    general: float
    variance: float


class FreshModel:
    """The architecture of a model with weights that can be drawn again and again; the model itself is not touched."""

    def __init__(self, model: HookedTransformer) -> None:
        self.model = HookedTransformer(replace(model.cfg, init_weights=False, seed=None)).eval()

    def draws(self, scheme: Scheme, n_seeds: int, std: float | None = None) -> Iterator[HookedTransformer]:
        """The model with the weights of seeds 0, 1, ... in turn; always the same object."""
        for seed in range(n_seeds):
            initialise(self.model, scheme, torch.Generator(self.model.W_E.device).manual_seed(seed), std=std)
            yield self.model


@torch.no_grad()
def attention_at_random(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> AttentionAtRandom:
    """What the patterns of all layers are on these tokens.

    Raises:
        NonFiniteError: a pattern that is not finite, or a score that is not where the configuration shows the key.
    """
    names = {kind: [f"blocks.{layer}.{kind}" for layer in range(model.cfg.n_layers)] for kind in _WANTED}
    wanted = [name for kind in names.values() for name in kind]
    _, cache = model.run_with_cache(tokens, names_filter=wanted, stop_at_layer=model.cfg.n_layers)
    positions = model.context_of(tokens).added
    frames, checks = [], []
    for layer in range(model.cfg.n_layers):
        block: Any = model.blocks[layer]
        stream, scores, pattern = (cache[names[kind][layer]] for kind in _WANTED)
        if not pattern.isfinite().all():
            raise NonFiniteError(f"the pattern of layer {layer} is not finite: there is nothing to compare with theory")
        # From the configuration and not from the scores, in which a mask that leaks would show itself as right.
        visible = visible_by_config(model, layer, pattern.shape[-1]).to(pattern.device)[None, None]
        if not scores.masked_fill(~visible, 0).isfinite().all():
            raise NonFiniteError(f"layer {layer} hides keys that its configuration shows: no prompt may be padded")
        read = block.read(block.ln1, stream)
        predicted = second_order_divergence(
            read if positions is None else read + positions,
            visible[0],
            _root_mean_square(block.attn.W_Q),
            _root_mean_square(block.attn.W_K),
            gain=model.cfg.d_head / block.attn.attn_scale**2,
        )
        frames.append(
            _row_frame(layer, uniform_divergence(pattern.double(), visible), predicted, visible[0, 0].sum(dim=-1))
        )
        checks.append(_checks(scores, pattern, visible))
    excess, variance, row_sum, lowest, masked, n_masked = zip(*checks, strict=True)
    return AttentionAtRandom(
        pd.concat(frames, ignore_index=True),
        largest_excess=max(excess),
        score_std=(sum(variance) / len(variance)) ** 0.5,
        row_sum_error=max(row_sum),
        lowest=min(lowest),
        masked=max(masked),
        n_masked=sum(n_masked),
    )


def _row_frame(
    layer: int,
    divergence: Float[Tensor, "batch head query"],
    predicted: Float[Tensor, "batch query"],
    n_keys: Int[Tensor, " query"],
) -> pd.DataFrame:
    rows = n_keys > 1
    measured, expected = divergence.double().mean(dim=0)[:, rows], predicted.double().mean(dim=0)[rows]
    n_heads, n_rows = measured.shape
    return pd.DataFrame(
        {
            "head": [f"L{layer}H{head}" for head in range(n_heads) for _ in range(n_rows)],
            "n_keys": n_keys[rows].repeat(n_heads).numpy(force=True),
            "kl_nats": measured.flatten().numpy(force=True),
            "predicted_nats": expected.repeat(n_heads).numpy(force=True),
            "log_n": n_keys[rows].double().log().repeat(n_heads).numpy(force=True),
        }
    )


@torch.no_grad()
def loss_at_random(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> LossAtRandom:
    """The loss on these tokens beside the formulas."""
    logits, cache = model.run_with_cache(tokens, names_filter=["unembed.hook_in"])
    loss = float(model.loss_fn(logits.double(), tokens))
    d_vocab = model.cfg.d_vocab_out
    stream = cache["unembed.hook_in"].double()
    variance = stream.square().sum(dim=-1).mean() * model.W_U.double().square().mean()
    logits = logits[:, :-1].double()
    # The read token's own logit is no random draw where the unembedding is tied, so it is not one of the others.
    own = logits.gather(-1, tokens[:, :-1, None].to(logits.device)).squeeze(-1)
    mean = (logits.sum(dim=-1) - own) / (d_vocab - 1)
    spread = (logits.square().sum(dim=-1) - own.square()) / (d_vocab - 1) - mean.square()
    general = expected_loss(d_vocab, float(spread.mean()), own - mean)
    return LossAtRandom(loss, math.log(d_vocab) + float(variance) / 2, general, float(variance))


def _checks(
    scores: Float[Tensor, "batch head query key"],
    pattern: Float[Tensor, "batch head query key"],
    visible: Bool[Tensor, "1 1 query key"],
) -> tuple[float, float, float, float, float, int]:
    uniform = visible / visible.sum(dim=-1, keepdim=True)
    excess = (pattern - uniform).masked_fill(~visible, 0).abs().max()
    last = scores[..., -1, :][..., visible[0, 0, -1]]
    masked = pattern.masked_fill(visible, 0).abs().max()
    row_sum_error = (pattern.double().sum(dim=-1) - 1).abs().max()
    variance = last.double().var(dim=-1, correction=0).mean()
    n_masked = pattern.shape[1] * int((~visible).sum())
    return float(excess), float(variance), float(row_sum_error), float(pattern.min()), float(masked), n_masked


def _root_mean_square(weight: Tensor) -> float:
    return float(weight.double().square().mean().sqrt())
