"""Devices that this PyTorch can put a model on."""

import torch

from .errors import ConfigError


def named_device(device: torch.device | str | int) -> torch.device:
    """The device of that name, whether or not it is there.

    Raises:
        ConfigError: PyTorch knows no device of that name.
    """
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={device!r} is none: cpu, cuda, cuda:1 and mps are some") from error


def require_present(device: str) -> None:
    """Nothing, if a tensor can be put there.

    Raises:
        ConfigError: there is no such name, the machine has no such device, or this PyTorch was built without it.
    """
    wanted = named_device(device)
    if wanted.type == "cuda":
        found = torch.cuda.device_count()
        if (wanted.index or 0) >= found:
            raise ConfigError(_absent(device, f"PyTorch {torch.__version__} finds {found} CUDA devices"))
    elif wanted.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(_absent(device, f"PyTorch {torch.__version__} finds no Metal device"))


def _absent(device: str, found: str) -> str:
    return f"device={device!r} is not there: {found}. Give device='cpu', or none: then the GPU is taken if there is one"
