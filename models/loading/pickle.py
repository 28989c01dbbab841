"""Files in PyTorch's own format, as training scripts save them: numbers only, code is never run."""

import pickle
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ..errors import CheckpointError

_CONVERT = (
    "load it where you trust it and save the numbers alone: torch.save(model.state_dict(), path), "
    "or models.loading.folder.save(model, folder)"
)


def load_content(path: str | Path) -> Any:
    """What `torch.save` wrote into the file, on the CPU: tensors, numbers, texts, and lists and dictionaries of them.

    The file is read with `weights_only=True`: whatever it asks to execute is refused, not executed. The format has
    no checksum that is verified, so a number that was changed on disk goes unseen; folders saved here have one.

    Raises:
        CheckpointError: no such file, not a file of PyTorch's, or code in it.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than numbers (or no PyTorch file at all), and none of it was executed; {_CONVERT}. "
            f"PyTorch says: {str(error).splitlines()[0]}"
        ) from error
    except Exception as error:  # a damaged file makes PyTorch's reader raise errors of any type
        raise CheckpointError(f"{path} is not a file that torch.save wrote, or is damaged: {error}") from error


def load_state_dict_file(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file that `torch.save(model.state_dict(), path)` wrote, on the CPU; read by `load_content`.

    Raises:
        CheckpointError: no such file, not a file of PyTorch's, code in it, or something else than named tensors.
    """
    state = load_content(path)
    if not is_state_dict(state):
        raise CheckpointError(f"{path} holds {described(state)}; expected a dictionary of names and tensors")
    return dict(state)


def is_state_dict(content: object) -> TypeGuard[dict[str, Tensor]]:
    """Whether it is a dictionary of names and tensors."""
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def described(content: object) -> str:
    """The content of a file in a few words, for messages."""
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    return f"a dictionary with the entries {', '.join(map(repr, list(content)[:5]))}"
