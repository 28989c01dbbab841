"""Hugging Face folders: `config.json`, safetensors in one file or several, the tokenizer. Nothing is unpickled."""

from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError
from .end_tokens import end_tokens
from .hf_tokenizer import hf_tokenizer
from .json_file import read_json
from .source import Source
from .weights import Weights

CONFIG = "config.json"
GENERATION = "generation_config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_DTYPES = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16}
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def read_hf_folder(folder: str | Path, name: str | None = None, *, with_tokenizer: bool = True) -> Source:
    """The checkpoint in a folder that `save_pretrained` wrote. The weights are read when they are asked for.

    Args:
        name: what the model is called (default: the folder's name).
        with_tokenizer: whether the folder's tokenizer is read too; one that we cannot read is an error.

    Raises:
        CheckpointError: files that are missing, damaged or pickled, or a tokenizer that is not read.
    """
    folder = Path(folder)
    config = read_json(folder / CONFIG)
    tokenizer = hf_tokenizer(folder) if with_tokenizer else None
    ends = end_tokens(read_json(folder / GENERATION) if (folder / GENERATION).is_file() else None, config)
    return Source(config, _weights(folder), tokenizer, name or folder.resolve().name, str(folder / CONFIG), ends)


def is_hf_folder(folder: Path) -> bool:
    """Whether the folder has a `config.json` with names that Hugging Face's have and ours have not."""
    return (folder / CONFIG).is_file() and bool({"model_type", "architectures"} & read_json(folder / CONFIG).keys())


def _weights(folder: Path) -> Weights:
    if (folder / SINGLE).is_file():
        return _of_files(folder / SINGLE, [folder / SINGLE])
    if (folder / INDEX).is_file():
        return _sharded(folder)
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        raise CheckpointError(
            f"{folder} holds {', '.join(pickled[:3])} and no safetensors: pickled files can hold code, and none is "
            "read here. Where you trust it, convert it: "
            "transformers.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(other_folder)"
        )
    raise CheckpointError(f"{folder} has neither {SINGLE} nor {INDEX}; there are no weights to read")


def _sharded(folder: Path) -> Weights:
    places = read_json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{folder / INDEX} has no weight_map from names of tensors to files")
    names = sorted(set(places.values()))
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise CheckpointError(f"{folder / INDEX} points out of its folder, to {outside[0]!r}")
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise CheckpointError(f"{folder} lacks {', '.join(absent)}, which {INDEX} lists")
    weights = _of_files(folder / INDEX, [folder / name for name in names])
    unlisted = sorted(set(places) ^ weights.remaining)
    if unlisted:
        raise CheckpointError(f"{folder / INDEX} and its files disagree about {', '.join(unlisted[:3])}")
    return weights


def _of_files(origin: Path, paths: list[Path]) -> Weights:
    handles, numbers = {}, dict.fromkeys(_DTYPES, 0)
    for path in paths:
        handle = _opened(path)
        for name in handle.keys():  # noqa: SIM118  # a file, not a dictionary
            if name in handles:
                raise CheckpointError(f"{path} holds {name}, which another file of the folder holds as well")
            handles[name] = handle
            described = handle.get_slice(name)
            numbers[described.get_dtype()] = numbers.get(described.get_dtype(), 0) + prod(described.get_shape())
    if not handles:
        raise CheckpointError(f"{origin} holds no weights")
    most = max(_DTYPES, key=lambda stored: numbers[stored])
    return Weights(handles, lambda name: handles[name].get_tensor(name), _DTYPES[most], str(origin))


def _opened(path: Path) -> Any:
    try:
        # Read, not mapped: a model must not change, nor the program die, when somebody writes to the file later.
        return safe_open(path, framework="pt", backend="pread")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
