"""The logit lens: blind to the size of the stream, at its end the model itself, and never better than the model.

Sources: nostalgebraist (2020); Belrose et al. (2023), section 2.
"""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..lenses import lens_logits, logit_lens
from .invariant import Invariant
from .reading import activations, deviation, sixteen_bit, worst


def _stream(model: Any, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    # Stretched far beyond eps, which is then nothing, as in the formula without it.
    name = f"blocks.{model.cfg.n_layers - 1}.hook_resid_pre"
    stream = activations(model, tokens, [name])[name][0]
    return 2.0**20 * stream


def lens_off_at_another_scale(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the lens when the stream is three times as long."""
    stream = _stream(model, tokens)
    return deviation(lens_logits(model, 3 * stream), lens_logits(model, stream))


def lens_off_after_a_shift(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the lens when one number is added to every coordinate of the stream."""
    stream = _stream(model, tokens)
    return deviation(lens_logits(model, stream + stream.std()), lens_logits(model, stream))


def no_final_norm(model: Any) -> str | None:
    """The obstacle of logits that grow with the stream."""
    if "ln_final.hook_scale" not in model.hook_dict:
        return "there is no final norm that would take the scale away"
    return sixteen_bit(model)


def no_final_layer_norm(model: Any) -> str | None:
    """The obstacle of a final norm that keeps the mean."""
    kind = model.cfg.normalization_type or ""
    if not kind.startswith("LN") or getattr(model.cfg, "final_rms", False):
        return no_final_norm(model) or "the final norm does not take the mean away"
    return no_final_norm(model)


def divergence_off(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the lens's KL from PyTorch's, its most negative value, and its size at the stream's end."""
    p = model(tokens).double().log_softmax(dim=-1)
    readings = logit_lens(model, tokens, logits_at_once=p.numel() // 3)
    whole = logit_lens(model, tokens)
    streams = activations(model, tokens, readings.sites)
    errors = [deviation(readings.kl, whole.kl), float(-whole.kl.min().clamp(max=0)), float(whole.kl[-1].abs().max())]
    for site, kl in zip(whole.sites, whole.kl, strict=True):
        q = lens_logits(model, streams[site][0]).double().log_softmax(dim=-1)
        errors.append(deviation(kl, F.kl_div(q, p, reduction="none", log_target=True).sum(dim=-1)) if kl.any() else 0.0)
    return worst(errors)


def other_words(model: Any) -> str | None:
    """The obstacle of an output vocabulary that is not the input's, in which a next token has no logit."""
    if getattr(model.cfg, "d_vocab_out", model.cfg.d_vocab) != model.cfg.d_vocab:
        return "the output vocabulary is not the input's, and the lens asks for the next token"
    return sixteen_bit(model)


INVARIANTS = (
    Invariant(
        "lens-scale", "the lens reads a stream and any multiple of it alike (eps left out)", lens_off_at_another_scale,
        obstacle=no_final_norm,
    ),
    Invariant(
        "lens-shift", "the lens of LayerNorm reads a stream and a constant shift of it alike (eps left out)",
        lens_off_after_a_shift, obstacle=no_final_layer_norm,
    ),
    Invariant(
        "lens-kl", "KL(model || lens) is never negative, 0 at the end of the stream, and the same read in parts",
        divergence_off, obstacle=other_words,
    ),
)  # fmt: skip
