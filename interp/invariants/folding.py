"""Rewritings of the weights that must not change what a model says: norms folded, means taken away.

The copies stand in for single forward passes; the model's own weights are never written. They are made here and not by
the loader's own steps, so that they are a second road to those. Source: Elhage et al. (2021); TransformerLens'
`further_comments.md`.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..bridge_points import of_transformers
from .invariant import Invariant
from .processed import is_processed, log_probs_off_when_processed
from .reading import deviation, positions, post_norm
from .weights import logits_with, other_names

Weights = dict[str, Float[Tensor, "..."]]


def _held(model: Any) -> Weights:
    # Biases that a config leaves out are buffers of zeros, which folding fills.
    return {name: value.detach() for name, value in (*model.named_parameters(), *model.named_buffers())}


def logits_off_with_folded_norms(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when each norm's weight and bias are moved into what reads from it.

    Of a bridge, the change of the log-probabilities when TransformerLens does so.
    """
    if of_transformers(model):
        return log_probs_off_when_processed(model, tokens)
    held = _held(model)
    changed: Weights = {}
    for layer in range(model.cfg.n_layers):
        block = f"blocks.{layer}"
        heads = [(f"{block}.attn.{_}W_{x}", f"{block}.attn.{_}b_{x}") for x in "QKV" for _ in ("", "_")]
        mlp = [(f"{block}.mlp.W_in", f"{block}.mlp.b_in"), (f"{block}.mlp.W_gate", "")]
        changed |= _folded(held, f"{block}.ln1", heads) | _folded(held, f"{block}.ln2", mlp)
    if "unembed.W_U" in held:
        changed |= _folded(held, "ln_final", [("unembed.W_U", "unembed.b_U")])
    return deviation(logits_with(model, changed, tokens), model(tokens))


def _folded(held: Weights, norm: str, readers: list[tuple[str, str]]) -> Weights:
    if f"{norm}.w" not in held:
        return {}
    w = held[f"{norm}.w"].double()
    b = held.get(f"{norm}.b", torch.zeros_like(held[f"{norm}.w"])).double()
    changed = {f"{norm}.w": torch.ones_like(held[f"{norm}.w"])}
    if f"{norm}.b" in held:
        changed[f"{norm}.b"] = torch.zeros_like(held[f"{norm}.b"])
    for weight, bias in readers:
        if weight not in held:
            continue
        matrix = held[weight].double()
        changed[weight] = (w[:, None] * matrix).to(held[weight])
        if bias in held and b.numel() == matrix.shape[-2]:
            changed[bias] = (held[bias].double() + b @ matrix).to(held[bias])
    return changed


def norms_cannot_fold(model: Any) -> str | None:
    """The obstacle of norms without weights, or whose weights have nowhere to go."""
    if of_transformers(model):
        return is_processed(model)
    names = other_names(model)
    if names is not None:
        return names
    if post_norm(model):
        return "post-norm blocks carry the normed stream on, so its weights belong to the stream"
    if positions(model) == "shortformer":
        return "shortformer positions are added behind the norms, and its weights do not scale them"
    held = _held(model)
    final = "ln_final.w" in held and "unembed.W_U" in held
    if not final and not any(name.endswith((".ln1.w", ".ln2.w")) for name in held):
        return "no norm has weights that could be moved"
    gated = getattr(model.cfg, "gated_mlp", False)
    if gated and any(bool(held.get(f"blocks.{i}.ln2.b", torch.zeros(1)).any()) for i in range(model.cfg.n_layers)):
        return "a gated MLP has no bias on its gate that could take the norm's"
    return None


def logits_off_with_centred_writing(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the logits when all that is written into the stream has its mean over d_model taken away."""
    held = _held(model)
    # A tied embedding is also what the logits are read with, and stays.
    free = ("embed.W_E",) if "unembed.W_U" in held else ()
    added = ("pos_embed.W_pos",) if positions(model) == "standard" else ()
    ends = ("attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out", *added, *free)
    changed = {name: value - value.mean(dim=-1, keepdim=True) for name, value in held.items() if name.endswith(ends)}
    return deviation(logits_with(model, changed, tokens), model(tokens))


def means_are_read(model: Any) -> str | None:
    """The obstacle of a stream that somebody reads without taking its mean away."""
    cfg = model.cfg
    kind = cfg.normalization_type
    if kind not in ("LN", "LNPre"):
        return f"only LayerNorm takes the mean away, and the norms are {kind or 'none'}"
    if post_norm(model):
        return "in post-norm blocks the first layer reads the stream unnormed"
    if getattr(cfg, "use_normalization_before_and_after", False):
        return "norms behind the layers decide the mean of what is written"
    if "ln_final.hook_scale" not in model.hook_dict or getattr(cfg, "final_rms", False):
        return "the unembedding reads the stream without a LayerNorm"
    return other_names(model)


def log_probs_off_with_centred_unembedding(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the log-probabilities when W_U and b_U have their mean over the vocabulary taken away."""
    held = _held(model)
    changed = {name: held[name] - held[name].mean(dim=-1, keepdim=True) for name in ("unembed.W_U", "unembed.b_U")}
    centred = logits_with(model, changed, tokens).double()
    off_zero = float(centred.mean(dim=-1).abs().max()) / float(centred.abs().max())
    return max(deviation(centred.log_softmax(dim=-1), model(tokens).double().log_softmax(dim=-1)), off_zero)


def unembedding_is_not_free(model: Any) -> str | None:
    """The obstacle of logits that are bent, or of an unembedding that is the embedding."""
    if (getattr(model.cfg, "output_logits_soft_cap", None) or -1) > 0:
        return "a soft cap on the logits does not commute with a shift"
    if other_names(model) is None and "unembed.W_U" not in _held(model):
        return "a tied unembedding cannot be centred without moving the embedding"
    return other_names(model)


INVARIANTS = (
    Invariant(
        "fold-norms", "norm weights and biases moved into what reads from them leave the logits",
        logits_off_with_folded_norms, obstacle=norms_cannot_fold,
    ),
    Invariant(
        "centre-writing", "LayerNorm models give the same logits when all that is written is made mean zero",
        logits_off_with_centred_writing, obstacle=means_are_read,
    ),
    Invariant(
        "centre-unembed", "an unembedding made mean zero over the vocabulary leaves the log-probabilities",
        log_probs_off_with_centred_unembedding, obstacle=unembedding_is_not_free,
    ),
)  # fmt: skip
