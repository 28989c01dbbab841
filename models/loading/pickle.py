"""Files in PyTorch's own format, as training scripts save them: numbers only, code is never run."""

import pickle
import re
import warnings
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ..errors import CheckpointError
from .torch_archive import is_archive, require_sound

_CONVERT = (
    "load it where you trust it and save the numbers alone: torch.save(model.state_dict(), path), "
    "or models.loading.folder.save(model, folder)"
)
_NAMED = re.compile(r"GLOBAL (\S+) was not an allowed global")
_SHOWN = 60


def load_content(path: str | Path) -> Any:
    """What `torch.save` wrote into the file, on the CPU: tensors, numbers, texts, and lists and dictionaries of them.

    The file is read with `weights_only=True`: whatever it asks to execute is refused, not executed. The checksums of
    its members are compared; files of before PyTorch 1.6 have none, and a number that was changed in one goes unseen.

    Raises:
        CheckpointError: no such file, not a file of PyTorch's, one that is damaged, or code in it.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    if is_archive(path):
        require_sound(path)
    try:
        with warnings.catch_warnings():
            # Of the protocol of a plain pickle: it is refused below, or was read.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's own sentence advises to execute what is in the file, and is not passed on.
        raise CheckpointError(
            f"{path} holds more than numbers (or is no PyTorch file at all){_class_in(error)}, and none of it was "
            f"executed; {_CONVERT}"
        ) from error
    except Exception as error:  # a damaged file makes PyTorch's reader raise errors of any type
        raise CheckpointError(f"{path} is not a file that torch.save wrote, or is damaged") from error


def _class_in(error: pickle.UnpicklingError) -> str:
    named = _NAMED.search(str(error))
    # The name comes out of the file, and could hold what a terminal obeys.
    return f": it asks for the class or function {_shortened(named[1])}" if named else ""


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
    names = list(content)
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (
        f"a dictionary with the entries {', '.join(map(_shortened, names[:5]))}{rest}"
        if names
        else "an empty dictionary"
    )


def _shortened(name: object) -> str:
    text = repr(name)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
