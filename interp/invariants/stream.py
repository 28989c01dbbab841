"""The residual stream: a sum of what was written, read out at the end. Source: Elhage et al. (2021)."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..hooks import edited
from ..residual import embedding_points
from .invariant import EXACT, Invariant
from .reading import activations, deviation, in_layers, soft_capped, stream_is_normalised, worst


def writers(model: Any, layer: int) -> list[str]:
    """The points at which a block's writes into the stream can be read."""
    names = [f"blocks.{layer}.hook_attn_out", f"blocks.{layer}.hook_mlp_out"]
    return [name for name in names if name in model.hook_dict]


def embeddings(model: Any) -> list[str]:
    """The points at which the stream begins."""
    return embedding_points(model)


def _written(model: Any, tokens: Int[Tensor, "batch pos"]) -> tuple[Float[Tensor, "component batch pos d_model"], list]:
    layers = range(model.cfg.n_layers)
    names = [*embeddings(model), *(name for layer in layers for name in writers(model, layer))]
    ends = [f"blocks.{layer}.hook_resid_post" for layer in layers]
    seen = activations(model, tokens, names + ends)
    shape = seen[ends[0]][0].shape
    # Some models embed positions once for the whole batch.
    components = torch.stack([seen[name][0].double().expand(shape) for name in names])
    return components, [seen[name][0].double() for name in ends]


def stream_off_its_sum(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the stream after each block from the sum of all that was written so far."""
    components, streams = _written(model, tokens)
    counts = [len(embeddings(model)) + sum(len(writers(model, i)) for i in range(j + 1)) for j in range(len(streams))]
    pairs = zip(streams, counts, strict=True)
    return worst(in_layers(deviation(stream, components[:n].sum(0), "prompt position _") for stream, n in pairs))


def stream_off_between_blocks(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """max |resid_post(l) - resid_pre(l + 1)|."""
    seams = [(f"blocks.{i}.hook_resid_post", f"blocks.{i + 1}.hook_resid_pre") for i in range(model.cfg.n_layers - 1)]
    seen = activations(model, tokens, [name for seam in seams for name in seam])
    return worst({start: float((seen[end][0] - seen[start][0]).abs().max()) for end, start in seams})


def one_block(model: Any) -> str | None:
    """The obstacle of a model that has no seam between blocks."""
    return "the model has a single block" if model.cfg.n_layers == 1 else None


def last_lens_off_the_logits(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the logits from the final norm and unembedding of the last stream."""
    last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    stream = activations(model, tokens, [last])[last][0]
    lens = model.ln_final(stream).double() @ model.unembed.W_U.double() + model.unembed.b_U.double()
    return deviation(model(tokens), soft_capped(lens, getattr(model.cfg, "output_logits_soft_cap", None)))


def attribution_off_the_logits(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the logits from the sum of what each component writes through the frozen final norm."""
    components, _ = _written(model, tokens)
    direct = _through_final_norm(model, tokens, components) @ model.unembed.W_U.double()
    bias = model.unembed.b_U.double()
    norm_bias = getattr(model.ln_final, "b", None)
    if isinstance(norm_bias, Tensor):
        bias = bias + norm_bias.double() @ model.unembed.W_U.double()
    return deviation(
        model(tokens), soft_capped(direct.sum(0) + bias, getattr(model.cfg, "output_logits_soft_cap", None))
    )


def _through_final_norm(
    model: Any, tokens: Int[Tensor, "batch pos"], components: Float[Tensor, "component batch pos d_model"]
) -> Float[Tensor, "component batch pos d_model"]:
    if "ln_final.hook_scale" not in model.hook_dict:
        return components
    if (model.cfg.normalization_type or "").startswith("LN") and not getattr(model.cfg, "final_rms", False):
        components = components - components.mean(dim=-1, keepdim=True)
    scale = activations(model, tokens, ["ln_final.hook_scale"])["ln_final.hook_scale"][0].double()
    weight = getattr(model.ln_final, "w", None)
    # A bridge keeps Gemma's weights as they were saved, one less than what is multiplied with.
    offset = 1.0 if getattr(model.ln_final, "uses_weight_offset", False) else 0.0
    return components / scale * (weight.double() + offset if isinstance(weight, Tensor) else 1.0)


@torch.enable_grad()
def gradient_off_the_skip(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of the gradient before a block from the one behind it plus what comes back through its branches."""
    return worst(in_layers(_skip_error(model, tokens, layer) for layer in range(model.cfg.n_layers)))


def _skip_error(model: Any, tokens: Int[Tensor, "batch pos"], layer: int) -> float:
    start, middle, end = (f"blocks.{layer}.hook_resid_{place}" for place in ("pre", "mid", "post"))
    names = [start, *writers(model, layer), *([middle] if middle in model.hook_dict else []), end]
    seen: dict[str, Tensor] = {}

    def kept(name: str) -> Any:
        def keep(activation: Tensor) -> Tensor:
            # A leaf of its own at the start, so that nothing below is differentiated.
            seen[name] = activation.detach().requires_grad_() if name == start else activation
            return seen[name]

        return keep

    with edited(model, {name: kept(name) for name in names}, allow_nonfinite=True):
        logits = model(tokens)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(logits)
    gradient = dict(
        zip(
            names,
            torch.autograd.grad((logits * weights).sum(), [seen[n] for n in names], retain_graph=True),
            strict=True,
        )
    )
    errors = []
    for before, after in _skips(names, start, middle, end):
        branches = writers(model, layer) if after == end and before == start else [_branch(layer, before == start)]
        through = [
            torch.autograd.grad(seen[name], seen[before], gradient[name], retain_graph=True)[0] for name in branches
        ]
        errors.append(deviation(gradient[before], gradient[after] + sum(through)))
    return worst(errors)


def _skips(names: list[str], start: str, middle: str, end: str) -> list[tuple[str, str]]:
    return [(start, middle), (middle, end)] if middle in names else [(start, end)]


def _branch(layer: int, first: bool) -> str:
    return f"blocks.{layer}.hook_{'attn' if first else 'mlp'}_out"


INVARIANTS = (
    Invariant(
        "stream-sum",
        "the stream is the sum of embeddings, attention and MLP writes",
        stream_off_its_sum,
        obstacle=stream_is_normalised,
    ),
    Invariant(
        "stream-seam", "a block reads exactly what the one before it left", stream_off_between_blocks, EXACT, one_block
    ),
    Invariant(
        "last-lens", "the final norm and unembedding of the last stream are the logits", last_lens_off_the_logits
    ),
    Invariant(
        "direct-attribution",
        "each component's share through the frozen final norm, plus biases, sums to the logits",
        attribution_off_the_logits,
        obstacle=stream_is_normalised,
    ),
    Invariant(
        "skip-gradient",
        "the gradient before a block is the one behind it plus its branches' vector-Jacobian products",
        gradient_off_the_skip,
        obstacle=stream_is_normalised,
    ),
)
