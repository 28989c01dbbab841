"""The parts of a block against their formulas, written out here a second time from the config and the weights.

Everything the other identities take for granted (that a norm norms, that the MLP has its biases) is settled here.
Sources: Ba, Kiros and Hinton (2016); Zhang and Sennrich (2019); Nguyen and Salazar (2019); Hendrycks and Gimpel (2016);
Shazeer (2020); Elhage et al. (2022), "Softmax Linear Units".
"""

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..biases import bias
from ..bridge_points import of_transformers, unknown_formulas
from ..hooks import edited
from .invariant import Invariant
from .reading import activations, by_layer, deviation, in_layers, positions, post_norm, worst
from .weights import other_names

_NORMS_OF_A_BLOCK = ("ln1", "ln1_post", "ln2", "ln2_post")


def norm_names(model: Any) -> list[str]:
    """The norms of the model, in the order of the forward pass."""
    names = [f"blocks.{layer}.{norm}" for layer in range(model.cfg.n_layers) for norm in _NORMS_OF_A_BLOCK]
    return [name for name in [*names, "ln_final"] if f"{name}.hook_scale" in model.hook_dict]


def normed(model: Any, name: str, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """What the norm of that name makes of x by definition, in float64."""
    kind = model.cfg.normalization_type or ""
    if name.endswith("_post"):
        kind = "RMS" if kind.startswith("RMS") else "LN"
    if name == "ln_final" and kind.startswith("LN") and getattr(model.cfg, "final_rms", False):
        kind = "RMS"
    module = attrgetter(name)(model)
    # A bridge keeps Gemma's weights as they were saved, one less than what is multiplied with.
    offset = 1.0 if getattr(module, "uses_weight_offset", False) else 0.0
    return _normed(kind, x.double(), model.cfg.eps, offset + _of(module, "w", 1.0), _of(module, "b", 0.0))


def _of(module: Any, name: str, missing: float) -> Tensor | float:
    value = getattr(module, name, None)
    return value.detach().double() if isinstance(value, Tensor) else missing


def _normed(kind: str, x: Tensor, eps: float, w: Tensor | float, b: Tensor | float) -> Tensor:
    if kind.startswith("LN"):
        x = x - x.sum(dim=-1, keepdim=True) / x.shape[-1]
    squares = (x * x).sum(dim=-1, keepdim=True)
    below = squares.sqrt().clamp(min=eps) if kind == "ScaleNorm" else (squares / x.shape[-1] + eps).sqrt()
    return x / below * w + b


def norms_off_their_formula(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of every norm from its formula, watched and unwatched, on inputs of size 1 and 1/100."""
    generator, errors = torch.Generator().manual_seed(0), {}
    drawn = 0.5 + torch.randn(2, 3, model.cfg.d_model, generator=generator, dtype=torch.float64)
    device = next(model.parameters()).device
    for name in norm_names(model):
        norm = attrgetter(name)(model)
        for size in (1.0, 0.01):
            # At size 1/100 the variance is not far from eps, so that it matters where eps stands.
            x = (size * drawn).to(device, model.cfg.dtype)
            expected = normed(model, name, x)
            errors[f"{name}, inputs of size {size:g}"] = deviation(norm(x), expected)
            with edited(model, {f"{name}.hook_scale": lambda scale: scale}, allow_nonfinite=True):
                errors[f"{name}, watched, inputs of size {size:g}"] = deviation(norm(x), expected)
    return worst(errors)


def no_norms(model: Any) -> str | None:
    """The obstacle of a model without norms, or whose norms are kept in another form."""
    return None if norm_names(model) else "the model has no norms"


def _gelu_tanh(x: Tensor) -> Tensor:
    return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _gelu_fast(x: Tensor) -> Tensor:
    return x / 2 * (1 + torch.tanh(0.7978845608 * x * (1 + 0.044715 * x * x)))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: x * (x > 0),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "gelu": lambda x: x / 2 * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_fast": _gelu_fast,
    "solu": lambda x: x * x.softmax(dim=-1),
    "solu_ln": lambda x: x * x.softmax(dim=-1),
}


def mlp_off_its_formula(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of what each MLP writes from act(x W_in + b_in) W_out + b_out, or the gated form."""
    middle = "hook_resid_mid" if "blocks.0.hook_resid_mid" in model.hook_dict else "hook_resid_pre"
    errors = []
    for layer, (stream, out) in enumerate(by_layer(model, tokens, middle, "hook_mlp_out")):
        before = _norm_before_the_mlp(model, layer)
        # Granite's blocks write a fixed share of what an MLP computes.
        share = getattr(model.cfg, "residual_multiplier", 1.0)
        expected = share * _mlp(model, layer, stream if before is None else normed(model, before, stream))
        after = f"blocks.{layer}.ln2_post"
        expected = normed(model, after, expected) if _has(model, layer, "ln2_post") else expected
        errors.append(deviation(out, expected, "prompt position _"))
    return worst(in_layers(errors))


def _norm_before_the_mlp(model: Any, layer: int) -> str | None:
    # Where a bridge's MLP stands beside attention and has no norm of its own, it reads what attention reads.
    beside = of_transformers(model) and f"blocks.{layer}.hook_resid_mid" not in model.hook_dict
    found = [norm for norm in (("ln2", "ln1") if beside else ("ln2",)) if _has(model, layer, norm)]
    return f"blocks.{layer}.{found[0]}" if found and not post_norm(model) else None


def _has(model: Any, layer: int, norm: str) -> bool:
    return f"blocks.{layer}.{norm}.hook_scale" in model.hook_dict


def _mlp(model: Any, layer: int, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
    mlp, act = model.blocks[layer].mlp, ACTIVATIONS[_activation(model)]
    W_in, W_out = mlp.W_in.detach().double(), mlp.W_out.detach().double()
    b_in, b_out = bias(mlp, "b_in", W_in), bias(mlp, "b_out", W_out)
    if getattr(model.cfg, "gated_mlp", False):
        neurons = act(x @ mlp.W_gate.detach().double()) * (x @ W_in) + b_in
    else:
        neurons = act(x @ W_in + b_in)
    if model.cfg.act_fn == "solu_ln":
        neurons = _normed("LN", neurons, model.cfg.eps, _of(mlp.ln, "w", 1.0), _of(mlp.ln, "b", 0.0))
    return neurons @ W_out + b_out


def _activation(model: Any) -> str:
    # A bridge's config calls BLOOM's "gelu"; transformers computes the approximation with tanh for it.
    bloom = of_transformers(model) and model.original_model.config.model_type == "bloom"
    return "gelu_new" if bloom else str(model.cfg.act_fn)


def no_known_mlp(model: Any) -> str | None:
    """The obstacle of a model without MLPs, or with an activation function that is not known here."""
    if "blocks.0.hook_mlp_out" not in model.hook_dict or getattr(model.cfg, "attn_only", False):
        return "the model has no MLP"
    unknown = unknown_formulas(model)
    if unknown is not None:
        return unknown
    act = _activation(model)
    return None if act in ACTIVATIONS else f"the activation function {act!r} is not known here"


def patterns_off_the_softmax(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the pattern from exp(score) over its sum along the keys."""
    errors = []
    for scores, pattern in by_layer(model, tokens, "attn.hook_attn_scores", "attn.hook_pattern"):
        raised = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
        errors.append(deviation(pattern, raised / raised.sum(dim=-1, keepdim=True), "prompt head query key"))
    return worst(in_layers(errors))


def stream_off_the_embedding(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the first stream from the rows of W_E and of W_pos, counted from position 0."""
    start = activations(model, tokens, ["blocks.0.hook_resid_pre"])["blocks.0.hook_resid_pre"][0]
    rows = model.embed.W_E.detach().double()[tokens.to(start.device)]
    if positions(model) == "standard":
        rows = rows + model.pos_embed.W_pos.detach().double()[: tokens.shape[1]]
    return deviation(start, rows)


INVARIANTS = (
    Invariant(
        "embedding", "the stream begins as the token's row of W_E plus the position's row of W_pos",
        stream_off_the_embedding, obstacle=other_names,
    ),
    Invariant(
        "norm-form", "every norm computes its formula, whether anybody looks or not", norms_off_their_formula,
        obstacle=no_norms,
    ),
    Invariant("pattern-softmax", "a pattern is the softmax of the scores over the keys", patterns_off_the_softmax),
    Invariant(
        "mlp-form", "an MLP writes act(x W_in + b_in) W_out + b_out of the normed stream, or its gated form",
        mlp_off_its_formula, obstacle=no_known_mlp,
    ),
)  # fmt: skip
