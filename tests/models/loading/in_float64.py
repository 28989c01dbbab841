"""Models of `transformers` in float64 throughout, and their hidden states and continuations."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel


class _Float64Throughout(TorchFunctionMode):
    """Where code asks PyTorch for float32, it gets float64.

    `transformers` casts to float32 inside norms, softmax and rotary angles even where all weights are float64, so
    its logits would agree with exact ones to seven digits only.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.float:
            func = Tensor.double
        args = tuple(map(_widened, args))
        return func(*args, **{name: _widened(value) for name, value in (kwargs or {}).items()})


def _widened(value: object) -> object:
    return torch.float64 if value is torch.float32 else value


@contextmanager
def float64_throughout() -> Iterator[None]:
    """Within the block, `transformers` models are made in float64 and compute in nothing else."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64Throughout():
            yield
    finally:
        torch.set_default_dtype(before)


def with_order_one_weights(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """The model in evaluation, every parameter drawn around order one, biases and norm weights included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Matrices keep the size of what they carry; in deep products of order one a tanh would see only its ends.
            scale = 0.5 if parameter.ndim == 1 else 3 / parameter.shape[-1] ** 0.5
            mean = 1.0 if parameter.ndim == 1 and not name.endswith("bias") else 0.0
            parameter.copy_(mean + scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval()


@torch.no_grad()
def logits_and_streams(
    model: PreTrainedModel, tokens: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Theirs: the logits, the stream before each block, and the one behind the last after the final norm."""
    inputs: Mapping[str, Tensor] = {} if mask is None else {"attention_mask": mask, "position_ids": _positions(mask)}
    with float64_throughout():
        output = model(tokens, **inputs, output_hidden_states=True, use_cache=False)
    return output.logits, list(output.hidden_states)


@torch.no_grad()
def continuation(model: PreTrainedModel, tokens: Tensor, mask: Tensor, n_new: int) -> Tensor:
    """Theirs: the most likely token, `n_new` times, with their cache."""
    with float64_throughout():
        return model.generate(
            tokens, attention_mask=mask, max_new_tokens=n_new, do_sample=False, eos_token_id=None, pad_token_id=0
        )


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
