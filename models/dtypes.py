"""Floating-point types, given as they are or by name."""

import torch

from .errors import ConfigError

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_BY_NAME = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES} | {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def dtype_of(asked: torch.dtype | str) -> torch.dtype:
    """The type that is meant by itself or by its name: `torch.float64`, "float64", "torch.float64", "bf16".

    Raises:
        ConfigError: no type, or one that models do not compute in.
    """
    return checked_dtype(_BY_NAME.get(asked.removeprefix("torch."), asked) if isinstance(asked, str) else asked)


def checked_dtype(dtype: object) -> torch.dtype:
    """The type itself.

    Raises:
        ConfigError: no type, or one that models do not compute in.
    """
    if not isinstance(dtype, torch.dtype) or dtype not in DTYPES:
        known = ", ".join(map(str, DTYPES))
        raise ConfigError(f"dtype={dtype!r} is not a floating-point type that models compute in: {known}")
    return dtype
