"""Models of the Hugging Face hub whose files are in the local cache; nothing is fetched."""

import re
from pathlib import Path

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_NEEDED = "config.json"


def cached(name: str) -> Path | None:
    """The folder in the cache that holds the repository of that name with its weights, or None."""
    if _NAME.fullmatch(name) is None:
        return None
    from huggingface_hub import try_to_load_from_cache  # takes a second to import

    config = try_to_load_from_cache(name, _NEEDED)
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder is not None and any(folder.glob("*.safetensors")) else None


def how_to_fetch(name: str) -> str:
    """What to do for a name that may be a repository's, as a sentence; empty for one that cannot be."""
    if "/" not in name or _NAME.fullmatch(name) is None:
        return ""
    return (
        " If it is a name on the Hugging Face hub: its files are not in the local cache, and "
        f"`hf download {name}` fetches them."
    )
