"""Names on the Hugging Face hub: from the local cache where the files are there, else fetched."""

import re
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .hf_folder import CONFIG, GENERATION, INDEX, SINGLE, read_hf_folder
from .hf_tokenizer import OLDER, SETTINGS
from .json_file import read_json
from .saved_tokenizer import TOKENIZER
from .source import Source

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_FILES = [CONFIG, GENERATION, SINGLE, INDEX, "model-*.safetensors", TOKENIZER, SETTINGS, *OLDER]


def is_hub_name(name: str) -> bool:
    """Whether a repository could be called this: `gpt2`, `EleutherAI/pythia-70m`."""
    return _NAME.fullmatch(name) is not None


def cached_hf_hub(name: str, **where: Any) -> Source | None:
    """The checkpoint in the local cache, or None if its files are not all there. Nothing is fetched."""
    folder = cached_folder(name, **where)
    return None if folder is None else read_hf_folder(folder, repository_of(name))


def cached_folder(name: str, **where: Any) -> Path | None:
    """The folder of the local cache that holds the checkpoint, or None if its files are not all there.

    Args:
        name: a repository's, or one that TransformerLens gives it (`gpt2-small`).
        where: `revision`, `cache_dir` and `token`, as `huggingface_hub.snapshot_download` takes them.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    where |= {"local_files_only": True}
    try:
        folder = Path(snapshot_download(repository_of(name), allow_patterns=_FILES, **where))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if _is_whole(folder) else None


def read_hf_hub(name: str, **where: Any) -> Source:
    """The checkpoint of a repository; files that are in the local cache are not fetched again.

    Args:
        where: as `cached_hf_hub`'s, and `local_files_only`.

    Raises:
        CheckpointError: no such repository, no network, or no safetensors in it.
    """
    cached = cached_hf_hub(name, **where)
    if cached is not None:
        return cached
    from huggingface_hub import snapshot_download

    repository = repository_of(name)
    try:
        folder = Path(snapshot_download(repository, allow_patterns=_FILES, **where))
    except Exception as error:  # errors of several packages, from the network up
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"the files of {repository!r} are not in the local cache, and cannot be fetched from the Hugging Face hub: "
            f"{reason}"
        ) from error
    if not _is_whole(folder):
        raise CheckpointError(
            f"the repository {repository!r} has no safetensors; pickled files can hold code, and none is read here. "
            "Where you trust it, load it with transformers and pass the model to from_pretrained"
        )
    return read_hf_folder(folder, repository)


def repository_of(name: str) -> str:
    """The repository that TransformerLens means by a name; the name itself where it means none."""
    from transformer_lens.supported_models import get_official_model_name  # reads a file of its own

    try:
        return str(get_official_model_name(name))
    except ValueError:
        return name


def _is_whole(folder: Path) -> bool:
    if not (folder / CONFIG).is_file():
        return False
    if (folder / SINGLE).is_file():
        return True
    if not (folder / INDEX).is_file():
        return False
    return all((folder / name).is_file() for name in read_json(folder / INDEX).get("weight_map", {}).values())
