"""Models saved to a folder and loaded from it: safetensors and JSON, checked on the way in."""

from pathlib import Path

import torch

from ..transformer import HookedTransformer
from .saved import Saved, write


def save(model: HookedTransformer, folder: str | Path) -> None:
    """The model in a folder that `load` reads: config, weights, and its tokenizer if it has one.

    A tied unembedding is stored once. Files appear whole; an interrupted save leaves no folder that loads wrongly.

    Raises:
        CheckpointError: weights that are not finite, or a folder that holds somebody else's `config.json`.
        TokenizerError: a tokenizer that has no `tokenizer.json`.
    """
    write(Saved(model.cfg, model.state_dict(), model.tokenizer, model.end_tokens), folder)


def load(
    folder: str | Path, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> HookedTransformer:
    """The model that `save` wrote, as it was saved: nothing is folded or centred.

    Args:
        device: where to (default: the GPU if there is one).
        dtype: default: the one it was saved in.

    Raises:
        CheckpointError: files that are missing, changed, truncated, of another format or not finite.
    """
    return HookedTransformer.from_folder(folder, device, dtype)
