"""From the name that a user gives to the folder that holds the model."""

from difflib import get_close_matches
from pathlib import Path

from ..errors import CheckpointError
from .saved import MANIFEST

ZOO = Path(__file__).parents[1] / "zoo"


def bundled_names() -> list[str]:
    """The names of the models that come with this package, in alphabetical order."""
    return sorted(manifest.parent.name for manifest in ZOO.glob(f"*/{MANIFEST}"))


def resolved(name_or_path: str | Path) -> Path:
    """The folder of a bundled model, or the folder itself if it is a path. A bundled name comes first.

    Raises:
        CheckpointError: neither; the message names the nearest bundled model, and all of them.
    """
    names = bundled_names()
    if str(name_or_path) in names:
        return ZOO / name_or_path
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    nearest = get_close_matches(str(name_or_path), names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    bundled = f"Bundled models: {', '.join(names)}." if names else "No model is bundled."
    raise CheckpointError(f"{str(name_or_path)!r} is neither a bundled model nor a folder that exists.{hint} {bundled}")
