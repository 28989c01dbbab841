"""Where a model comes from: a bundled name or a path, checked before anything heavy is imported."""

import hashlib
import json
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import BadFileError, did_you_mean
from .packaged_models import PACKAGED_MODELS

DEFAULT = "stdlib-4l"

PACKAGED = tuple(model.name for model in PACKAGED_MODELS)
"""Models that a Python package of their own ships."""


@dataclass(frozen=True)
class ModelSource:
    """A model that is there to be loaded.

    Attributes:
        name: what it is called.
        path: its folder or file.
        bridge: whether it is run by TransformerLens' bridge, and not converted.
    """

    name: str
    path: Path
    bridge: bool = False

    def load(self) -> Any:
        """The model as it was saved, in evaluation mode; nothing is folded.

        A folder of ours, a Hugging Face folder, a GGUF file, or a checkpoint that nanoGPT, llama2.c or
        TransformerLens wrote.

        Raises:
            models.errors.CheckpointError: a file that is damaged, or not a model's.
            BadFileError: a bridge that cannot be booted.
        """
        if self.bridge:
            return import_module("analyses.bridge_source").booted(self.path)
        return import_module("models").HookedTransformer.from_pretrained_no_processing(self.path)

    def sample(self) -> str | None:
        """The text that belongs to the model, held out when it was trained.

        Raises:
            BadFileError: the file is not UTF-8.
        """
        file = self.path / "sample.txt"
        try:
            return file.read_text(encoding="utf-8") if file.is_file() else None
        except UnicodeDecodeError as error:
            raise BadFileError(
                f"{str(file)!r} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
            ) from error

    def sample_tokens(self) -> list[list[int]] | None:
        """The rows of token ids that belong to the model, held out when it was trained."""
        return self._json("sample_tokens.json")

    def card(self) -> dict[str, Any]:
        """What is known of the model's training, as it was saved beside it; empty if nothing is.

        Raises:
            BadFileError: the file is no JSON.
        """
        return self._json("card.json") or {}

    def _json(self, name: str) -> Any:
        file = self.path / name
        try:
            return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        except ValueError as error:
            raise BadFileError(f"{str(file)!r} is not JSON: {error}") from error

    def weights_sha256(self) -> str:
        """The SHA-256 of the weights' file; of several files, in the order of their names, one after the other."""
        digest = hashlib.sha256()
        for file in sorted(self.path.glob("*.safetensors")) if self.path.is_dir() else [self.path]:
            digest.update(file.read_bytes())
        return digest.hexdigest()


def zoo() -> Path:
    """The folder of the bundled models, found without importing the package that holds them."""
    spec = find_spec("models")
    if spec is None or spec.origin is None:
        raise BadFileError("the package 'models' is not installed beside 'analyses'")
    return Path(spec.origin).parent / "zoo"


def bundled() -> list[str]:
    """The names of the bundled models."""
    return sorted(file.parent.name for file in zoo().glob("*/config.json"))


def resolved(name: str) -> ModelSource:
    """The model that a bundled name, a path, the name of a package's model, or a cached hub name means.

    Raises:
        LookupError: none of them.
        BadFileError: a folder that holds no model.
        models.errors.CheckpointError: the package is not installed; the message says how.
    """
    if name in bundled():
        return ModelSource(name, zoo() / name)
    if name in PACKAGED:
        return ModelSource(name, import_module(f"models.loading.{name}").smollm2_file())
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise BadFileError(f"the folder {name!r} holds no model: there is no config.json in it")
        return ModelSource(path.resolve().name, path)
    if path.is_file():
        return ModelSource(path.name, path)
    hub = import_module("models.loading.hf_hub")  # takes seconds to import
    folder = hub.cached_folder(name) if hub.is_hub_name(name) else None
    if folder is not None:
        return ModelSource(name, folder)
    fetch = (
        f" If it is a name on the Hugging Face hub: its files are not in the local cache, and `hf download {name}` "
        "fetches them."
        if "/" in name and hub.is_hub_name(name)
        else ""
    )
    known = ", ".join(bundled()) or "none yet"
    raise LookupError(
        f"{name!r} is neither a bundled model nor a folder.{did_you_mean(name, [*bundled(), *PACKAGED])} Bundled "
        f"models: {known}. Of packages: {', '.join(PACKAGED)}.{fetch}"
    )
