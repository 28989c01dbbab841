"""Devices that this PyTorch can put a model on."""

import torch

from .errors import ConfigError


def require_present(device: str) -> None:
    """Nothing, if a tensor can be put there.

    Raises:
        ConfigError: the machine has no such device, or this PyTorch was built without it.
    """
    wanted = torch.device(device)
    if wanted.type == "cuda":
        found = torch.cuda.device_count()
        if (wanted.index or 0) >= found:
            raise ConfigError(_absent(device, f"PyTorch {torch.__version__} finds {found} CUDA devices"))
    elif wanted.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(_absent(device, f"PyTorch {torch.__version__} finds no Metal device"))


def _absent(device: str, found: str) -> str:
    return f"device={device!r} is not there: {found}. Give device='cpu', or none: then the GPU is taken if there is one"
