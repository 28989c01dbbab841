"""A saved model as a folder: `config.json`, `model.safetensors`, and `tokenizer.json` if the model reads text.

`config.json` is the manifest: it holds the config's fields, what a tokenizer needs beside its own file, and the
SHA-256 of the other files and of itself. No file is ever unpickled.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..config import HookedTransformerConfig
from ..errors import CheckpointError, ConfigError
from .saved_tokenizer import TOKENIZER, rebuilt_tokenizer, tokenizer_parts
from .state import require_finite

MANIFEST = "config.json"
WEIGHTS = "model.safetensors"
FORMAT = "interp.HookedTransformer"
VERSION = 1


@dataclass(frozen=True)
class Saved:
    """What a folder holds: enough to build the model again, on any device."""

    config: HookedTransformerConfig
    state: dict[str, Tensor]
    tokenizer: Any = None
    end_tokens: tuple[int, ...] = ()


def write(saved: Saved, folder: str | Path) -> None:
    """The folder on disk. Each file is complete or absent; an interrupted write leaves a folder that does not load.

    Other files in the folder stay as they are.

    Raises:
        CheckpointError: weights that are not finite, or a `config.json` in the folder that is not one of ours.
        TokenizerError: a tokenizer that is not backed by the `tokenizers` library.
    """
    folder = Path(folder)
    for name, value in saved.state.items():
        require_finite(name, value)
    tokenizer, settings = (None, None) if saved.tokenizer is None else tokenizer_parts(saved.tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        _require_ours(folder / MANIFEST, _json(folder / MANIFEST))
    # Copies: the safetensors format has no strides, and the projections are stored with d_model outermost.
    tensors = {name: value.detach().contiguous() for name, value in saved.state.items()}
    _replace_file(folder / WEIGHTS, lambda path: save_file(tensors, path))
    names = [WEIGHTS]
    if tokenizer is None:
        (folder / TOKENIZER).unlink(missing_ok=True)
    else:
        _replace_file(folder / TOKENIZER, lambda path: path.write_text(tokenizer, encoding="utf-8"))
        names.append(TOKENIZER)
    manifest = {
        "format": FORMAT,
        "format_version": VERSION,
        "config": _config_as_json(saved.config),
        "tokenizer": settings,
        **({"end_tokens": list(saved.end_tokens)} if saved.end_tokens else {}),
        "files": {name: _fingerprint(folder / name) for name in names},
    }
    manifest["sha256"] = _own_hash(manifest)
    text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    # Last, because the manifest vouches for the others.
    _replace_file(folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))


def read(folder: str | Path) -> Saved:
    """What the folder holds, every file checked against the manifest.

    Raises:
        CheckpointError: no such folder, a file that is missing, changed, truncated or of another format.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        found = "holds no config.json" if folder.is_dir() else "is not a folder"
        raise CheckpointError(f"{folder} {found}; expected a folder with {MANIFEST} and {WEIGHTS}")
    manifest = _checked_manifest(folder / MANIFEST)
    for name, fingerprint in manifest["files"].items():
        _require_unchanged(folder / name, fingerprint)
    config = _config_from_json(folder / MANIFEST, manifest["config"])
    try:
        # Read tensor by tensor, not mapped: a model must not change when somebody writes to the file later.
        file = safe_open(folder / WEIGHTS, framework="pt", backend="pread")
        # Copied one by one, because a product of numbers that are aligned otherwise than PyTorch's rounds otherwise.
        state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # a file, not a dictionary
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} is not a safetensors file: {error}") from error
    tokenizer = rebuilt_tokenizer(folder / TOKENIZER, manifest["tokenizer"])
    return Saved(config, state, tokenizer, tuple(manifest.get("end_tokens", ())))


def _checked_manifest(path: Path) -> dict[str, Any]:
    manifest = _json(path)
    _require_ours(path, manifest)
    if manifest.get("format_version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {manifest.get('format_version')!r}; this package reads version {VERSION}"
        )
    if manifest.get("sha256") != _own_hash(manifest):
        raise CheckpointError(f"{path} was changed after it was written: its content does not have its own SHA-256")
    expected = {WEIGHTS} | ({TOKENIZER} if manifest["tokenizer"] is not None else set())
    if set(manifest["files"]) != expected:
        raise CheckpointError(f"{path} lists the files {sorted(manifest['files'])}; expected {sorted(expected)}")
    return manifest


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def _require_ours(path: Path, manifest: Any) -> None:
    found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
    if found == FORMAT:
        return
    foreign = isinstance(manifest, dict) and ("architectures" in manifest or "model_type" in manifest)
    what = "a Hugging Face configuration" if foreign else f"of format {found!r}"
    raise CheckpointError(f"{path} is {what}; expected format {FORMAT!r}, which models.loading.folder.save writes")


def _own_hash(manifest: dict[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _require_unchanged(path: Path, expected: dict[str, Any]) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; {MANIFEST} lists it with {expected['bytes']} bytes")
    found = _fingerprint(path)
    if found != expected:
        raise CheckpointError(
            f"{path} has {found['bytes']} bytes and SHA-256 {found['sha256'][:12]}...; {MANIFEST} expects "
            f"{expected['bytes']} bytes and {expected['sha256'][:12]}...: it is truncated or was changed"
        )


def _config_as_json(config: HookedTransformerConfig) -> dict[str, Any]:
    # A device belongs to a machine, not to a model.
    return {**config.to_dict(), "dtype": str(config.dtype).removeprefix("torch."), "device": None}


def _config_from_json(path: Path, fields: dict[str, Any]) -> HookedTransformerConfig:
    dtype = getattr(torch, str(fields.get("dtype")), None)
    if not isinstance(dtype, torch.dtype):
        raise CheckpointError(f"{path} names the dtype {fields.get('dtype')!r}, which PyTorch does not have")
    try:
        return HookedTransformerConfig.from_dict({**fields, "dtype": dtype})
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{path} describes no model: {error}") from error


def _replace_file(path: Path, write_to: Callable[[Path], Any]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write_to(temporary)
        temporary.chmod(0o644)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
