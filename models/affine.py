"""The product of rows with a matrix, plus a bias: every large matrix product of a model is made here."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

LEAST_PRODUCTS = 2**24
"""From here on oneDNN has been the faster one, below its start weighs more (measured on two cores with AVX-512)."""

LEAST_ROWS = 8


def affine(
    x: Float[Tensor, "*rows width"], weight: Float[Tensor, "width out"], bias: Float[Tensor, " out"] | None = None
) -> Float[Tensor, "*rows out"]:
    """x weight + bias.

    PyTorch computes float32 products on a CPU with MKL, which is slow on few rows and has no AVX-512 on processors of
    other makers. Where no gradient is wanted, oneDNN, which PyTorch brings as well, takes the large ones. The two
    round differently: float32 results with and without gradients agree to rounding, and not to the last bit.
    """
    if _large(x, weight) and _oneDNN_can(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight.T, bias, "none", [], "")
    return F.linear(x, weight.T, bias)


def _large(x: Tensor, weight: Tensor) -> bool:
    rows = x.numel() // max(1, x.shape[-1])
    return rows >= LEAST_ROWS and rows * weight.numel() >= LEAST_PRODUCTS


def _oneDNN_can(x: Tensor, weight: Tensor) -> bool:
    plain = x.is_contiguous() and (weight.is_contiguous() or weight.T.is_contiguous())
    return (
        plain
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not _looked_at_by_torch(x, weight)
    )


def _looked_at_by_torch(x: Tensor, weight: Tensor) -> bool:
    """Whether PyTorch counts, compiles, casts or transforms the product, which it can do only with its own linear."""
    return (
        torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cpu")
        or is_in_torch_dispatch_mode()
        or any(map(_transformed, (x, weight)))
    )


def _transformed(x: Any) -> bool:
    return torch._C._functorch.is_functorch_wrapped_tensor(x)
