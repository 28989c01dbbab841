"""Tensors and what is known of them, as a folder: `effects.safetensors` and `effects.json`.

The JSON holds the SHA-256 of both files. Each file is complete or absent: it is written under another name first.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..errors import EffectsFileError
from ..whole_files import write_whole

MANIFEST = "effects.json"
TENSORS = "effects.safetensors"
FORMAT = "interp.Effects"
VERSION = 1


def write(folder: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """The folder on disk; other files in it stay, and effects saved in it before are replaced.

    Raises:
        EffectsFileError: something that JSON cannot hold.
        OSError: the folder cannot be written.
    """
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    manifest = {
        "format": FORMAT,
        "format_version": VERSION,
        "effects": dict(about),
        "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "files": {TENSORS: _fingerprint(content)},
    }
    try:
        manifest["sha256"] = _own_hash(manifest)
        text = json.dumps(manifest, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise EffectsFileError(f"{folder / MANIFEST} cannot hold these effects: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / TENSORS, content)
    # Last, because it vouches for the other.
    write_whole(folder / MANIFEST, f"{text}\n".encode())


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What the folder holds, every byte checked.

    Raises:
        EffectsFileError: a file that is missing, truncated, changed, or of another format or version.
    """
    manifest = _manifest(folder / MANIFEST)
    path, expected = folder / TENSORS, manifest["files"][TENSORS]
    if not path.is_file():
        raise EffectsFileError(f"{path} is missing; {MANIFEST} lists it with {expected['bytes']} bytes")
    content = path.read_bytes()
    found = _fingerprint(content)
    if found != expected:
        raise EffectsFileError(
            f"{path} has {found['bytes']} bytes and SHA-256 {found['sha256'][:12]}...; {MANIFEST} expects "
            f"{expected['bytes']} bytes and {expected['sha256'][:12]}...: it is truncated or was changed"
        )
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise EffectsFileError(f"{path} is not a safetensors file: {error}") from error
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    if shapes != manifest["shapes"]:
        raise EffectsFileError(f"{path} holds {shapes}; {MANIFEST} expects {manifest['shapes']}")
    return tensors, manifest["effects"]


def _manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        what = "holds no effects.json" if path.parent.is_dir() else "is not a folder"
        raise EffectsFileError(f"{path.parent} {what}; expected one that Effects.save wrote, {MANIFEST} and {TENSORS}")
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:
        raise EffectsFileError(f"{path} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise EffectsFileError(f"{path} is of format {found!r}; expected {FORMAT!r}")
    if manifest.get("format_version") != VERSION:
        raise EffectsFileError(f"{path} has format version {manifest.get('format_version')!r}; this package reads "
                               f"version {VERSION}")  # fmt: skip
    if manifest.get("sha256") != _own_hash(manifest):
        raise EffectsFileError(f"{path} was changed after it was written: its content does not have its own SHA-256")
    return manifest


def _own_hash(manifest: Mapping[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
