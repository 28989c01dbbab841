"""The tokenizer that belongs to a name, for a model that came without one. Nothing is fetched."""

from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..loading.hf_hub import is_hub_name, repository_of
from ..loading.hf_tokenizer import OLDER, SETTINGS, hf_tokenizer
from ..loading.saved_tokenizer import TOKENIZER
from ..warned import warned


def tokenizer_by_name(*names: str) -> Any:
    """The tokenizer of the first name that is a folder, or a repository in the local cache, that has one.

    Args:
        names: empty ones are passed over; TransformerLens' names (`gpt2-small`) stand for their repositories.

    Raises:
        CheckpointError: none of them has one, or one that is not read.
    """
    asked = list(dict.fromkeys(name for name in names if name))
    for name in asked:
        folder = Path(name).expanduser()
        found = folder if folder.is_dir() else _cached(name)
        tokenizer = None if found is None else hf_tokenizer(found)
        if tokenizer is not None:
            return tokenizer
    raise CheckpointError(
        f"neither a folder nor the local cache of the Hugging Face hub has a tokenizer of {' or '.join(asked)}"
    )


def tokenizer_of_config(name: str) -> Any:
    """The tokenizer that a config's `tokenizer_name` names, or None with a warning where it is not found."""
    try:
        return tokenizer_by_name(name)
    except CheckpointError as error:
        warn_of_no_tokenizer(f"tokenizer_name={name!r}: {error}")
        return None


def warn_of_no_tokenizer(reason: object) -> None:
    """A warning that the model is without one, and what to do."""
    warned(
        f"the model has no tokenizer, and takes tokens alone: {reason}. Pass one with tokenizer=, as "
        "transformers.AutoTokenizer.from_pretrained makes it, or call set_tokenizer"
    )


def _cached(name: str) -> Path | None:
    if not is_hub_name(name):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        patterns = [TOKENIZER, SETTINGS, *OLDER]
        return Path(snapshot_download(repository_of(name), allow_patterns=patterns, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
