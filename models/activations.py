"""The activation functions by the names TransformerLens gives them."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from .config import Activation


def solu(x: Float[Tensor, "*batch d_mlp"]) -> Float[Tensor, "*batch d_mlp"]:
    """x * softmax(x). Source: Elhage et al. (2022), "Softmax Linear Units"."""
    return x * F.softmax(x, dim=-1)


def gelu_tanh(x: Float[Tensor, "*batch d_mlp"]) -> Float[Tensor, "*batch d_mlp"]:
    """The tanh approximation of GELU, as GPT-2 uses it. Source: Hendrycks and Gimpel (2016)."""
    return F.gelu(x, approximate="tanh")


def gelu_fast(x: Float[Tensor, "*batch d_mlp"]) -> Float[Tensor, "*batch d_mlp"]:
    """The tanh approximation of GELU with sqrt(2/pi) rounded to ten digits, as GPT-J uses it."""
    return 0.5 * x * (1.0 + torch.tanh(0.7978845608 * x * (1.0 + 0.044715 * x * x)))


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_fast": gelu_fast,
    "silu": F.silu,
    "solu": solu,
    "solu_ln": solu,
}


def soft_capped(x: Float[Tensor, "*batch length"], cap: float) -> Float[Tensor, "*batch length"]:
    """`cap * tanh(x / cap)`, or x itself where the cap is not positive (switched off)."""
    return x if cap <= 0 else cap * torch.tanh(x / cap)
