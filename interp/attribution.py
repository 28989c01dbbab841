"""Direct logit attribution: what each component adds to a logit by itself, at the scale that the final norm had.

It is no causal effect: a component also changes that scale, and what later components read. Source: Elhage et al.
(2021), "Logit attribution"; Wang et al. (2022), section 3.1.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import OutOfRangeError, ShapeError
from .frozen_norm import FrozenNorm, frozen_norm, scale_point
from .residual import Kind, Write, last_stream, require_sum_of, writes, writing_points


@dataclass(frozen=True, eq=False)
class Target:
    """The logit whose shares are asked for, at each position.

    Attributes:
        right: the token.
        against: what its logit is compared with: another token (a logit difference), the mean over the vocabulary (the
            part of the logit that log-probabilities see, since softmax drops what all logits share), or nothing.
    """

    right: Int[Tensor, "batch pos"]
    against: Int[Tensor, "batch pos"] | Literal["mean"] | None = None

    def of(self, logits: Float[Tensor, "#batch #pos d_vocab"]) -> Float[Tensor, "batch pos"]:
        """The target's value in these logits."""
        value = _taken(logits, self.right)
        if isinstance(self.against, Tensor):
            return value - _taken(logits, self.against)
        return value if self.against is None else value - logits.mean(dim=-1)


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each component adds to the target.

    Attributes:
        labels: the components', in the order of the forward pass; last the final norm's bias and b_U.
        kinds: embedding, head, mlp or bias.
        shares: each component's part, in logits.
        read: the direction behind the final norm that the target reads.
        norm: the final norm at the scale of the run.
        writes: the components themselves, without the final norm's bias and b_U.
        stream: the stream that the final norm read, which the writes sum to.
        value: the target in the model's own logits (before a soft cap, where there is one).
    """

    labels: tuple[str, ...]
    kinds: tuple[Kind, ...]
    shares: Float[Tensor, "component batch pos"]
    read: Float[Tensor, "batch pos d_model"]
    norm: FrozenNorm
    writes: tuple[Write, ...]
    stream: Float[Tensor, "batch pos d_model"]
    value: Float[Tensor, "batch pos"]

    def along(
        self, read: Float[Tensor, "batch pos d_model"], bias: Float[Tensor, "batch pos"]
    ) -> Float[Tensor, "component batch pos"]:
        """The same writes' shares of another target: a direction behind the final norm, and its part of b_U."""
        return _shares(self.writes, self.norm, read, bias)


@torch.no_grad()
def attribution(
    model: Any, tokens: Int[Tensor, "batch pos"], target: Target | Float[Tensor, "batch pos d_model"]
) -> Attribution:
    """Each component's share of the target, which they sum to, in float64.

    Where the logits are capped, the shares are those of the logit before the cap: behind it there is no sum.

    Args:
        target: tokens, or directions of the stream behind the final norm (a probe, a difference of two columns of W_U).

    Raises:
        NotASumError: post-norm blocks, whose stream is no sum; a bridge whose parts sum to something else.
        ShapeError, OutOfRangeError: a target that does not fit the tokens, the stream or the output vocabulary.
    """
    _check(model, tokens, target)
    last = last_stream(model)
    names = [*writing_points(model, last), *scale_point(model, "ln_final"), last]
    logits, cache = model.run_with_cache(tokens, names_filter=names)
    recorded = dict(cache)
    stream = recorded[last]
    if isinstance(target, Target):
        read = target_direction(model, target)
        unembedding_bias = target.of(model.unembed.b_U.detach().double()[None, None])
        capped = (getattr(model.cfg, "output_logits_soft_cap", None) or 0.0) > 0
        value = target.of((model.unembed(model.ln_final(stream)) if capped else logits).double())
    else:
        read = target.double()
        unembedding_bias = read.new_zeros(tokens.shape)
        value = (model.ln_final(stream).double() * read).sum(dim=-1)
    norm = frozen_norm(model, recorded, "ln_final")
    parts = writes(model, recorded, last)
    require_sum_of(model, parts, stream)
    labels = (*(part.label for part in parts), "final norm bias", "b_U")
    kinds: tuple[Kind, ...] = (*(part.kind for part in parts), "bias", "bias")
    shares = _shares(parts, norm, read, unembedding_bias)
    return Attribution(labels, kinds, shares, read, norm, parts, stream, value)


def _shares(
    parts: tuple[Write, ...],
    norm: FrozenNorm,
    read: Float[Tensor, "batch pos d_model"],
    bias: Float[Tensor, "batch pos"],
) -> Float[Tensor, "component batch pos"]:
    direction = norm.adjoint(read)
    return torch.stack([*(part.along(direction) for part in parts), read @ norm.bias, bias])


def target_direction(model: Any, target: Target) -> Float[Tensor, "batch pos d_model"]:
    """The direction behind the final norm along which the target is read: W_U of the token, less what it is against."""
    W_U = model.unembed.W_U.detach().double()
    direction = W_U.mT[target.right]
    if isinstance(target.against, Tensor):
        return direction - W_U.mT[target.against]
    return direction if target.against is None else direction - W_U.mean(dim=-1)


def _taken(logits: Float[Tensor, "#batch #pos d_vocab"], ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos"]:
    return logits.expand(*ids.shape, -1).gather(-1, ids[..., None]).squeeze(-1)


def _check(model: Any, tokens: Tensor, target: Target | Tensor) -> None:
    if isinstance(target, Tensor):
        if target.shape != (*tokens.shape, model.cfg.d_model):
            raise ShapeError(
                f"directions of shape {list(target.shape)} do not give one of {model.cfg.d_model} numbers at each "
                f"position of tokens of shape {list(tokens.shape)}"
            )
        return
    d_vocab = model.unembed.W_U.shape[-1]
    for name in ("right", "against"):
        ids = getattr(target, name)
        if not isinstance(ids, Tensor):
            continue
        if ids.shape != tokens.shape:
            raise ShapeError(
                f"the target's {name} has shape {list(ids.shape)}; it names a token at each position of the tokens, "
                f"whose shape is {list(tokens.shape)}"
            )
        low, high = (int(end) for end in ids.aminmax())
        if low < 0 or high >= d_vocab:
            raise OutOfRangeError(f"the target's {name} ranges from {low} to {high}; logits are 0 to {d_vocab - 1}")
