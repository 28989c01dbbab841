"""From what a user gives to the checkpoint: a name, a path, a model in memory."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .bridge import is_bridge, read_bridge
from .hf_folder import is_hf_folder, read_hf_folder
from .hf_hub import cached_hf_hub, is_hub_name, read_hf_hub
from .hf_model import is_hf_model, read_hf_model
from .saved import MANIFEST, Saved
from .single_file import read_file
from .smollm2 import NAME as SMOLLM2
from .smollm2 import smollm2_file
from .source import Source

ZOO = Path(__file__).parents[1] / "zoo"


def bundled_names() -> list[str]:
    """The names of the models that come with this package, in alphabetical order."""
    return sorted(manifest.parent.name for manifest in ZOO.glob(f"*/{MANIFEST}"))


def resolved(name_or_path: str | Path) -> Path:
    """The folder of a bundled model, or the path itself if it exists. A bundled name comes first.

    Raises:
        CheckpointError: neither; the message names the nearest bundled model, and all of them.
    """
    path = _local(name_or_path)
    if path is None:
        raise CheckpointError(_unknown(name_or_path))
    return path


def located(model: Any) -> Path | Source | Saved:
    """A folder of ours, or the checkpoint behind anything else that `from_pretrained` takes.

    Raises:
        CheckpointError: nothing of that name, files that are damaged, or a file that holds no model by itself.
    """
    if is_bridge(model):
        return read_bridge(model)
    if is_hf_model(model):
        return read_hf_model(model)
    if not isinstance(model, (str, Path)):
        raise CheckpointError(
            f"a {type(model).__name__} is no model to convert: give a name, a path, a transformers model or a "
            "TransformerBridge"
        )
    path = _local(model)
    if path is None:
        return _on_the_hub(str(model))
    if path.is_file():
        return read_file(path)
    return read_hf_folder(path) if is_hf_folder(path) else path


def _local(name_or_path: str | Path) -> Path | None:
    if str(name_or_path) in bundled_names():
        return ZOO / name_or_path
    if str(name_or_path) == SMOLLM2:
        return smollm2_file()
    path = Path(name_or_path).expanduser()
    # An empty name is the folder one is in, which nobody meant.
    return path if str(name_or_path) and path.exists() else None


def _on_the_hub(name: str) -> Source:
    if not is_hub_name(name):
        raise CheckpointError(_unknown(name))
    # A slip in a name of ours is told at once, and not looked for on the network; ours have no owner.
    if "/" not in name and _nearest(name):
        cached = cached_hf_hub(name)
        if cached is None:
            raise CheckpointError(_unknown(name))
        return cached
    try:
        return read_hf_hub(name)
    except CheckpointError as error:
        raise CheckpointError(f"{_unknown(name)} On the hub: {error}") from error


def _unknown(name_or_path: str | Path) -> str:
    names, nearest = bundled_names(), _nearest(str(name_or_path))
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    bundled = f"Bundled models: {', '.join(names)}." if names else "No model is bundled."
    return (
        f"{str(name_or_path)!r} is neither a bundled model nor a folder that exists.{hint} {bundled} Of packages: "
        f"{SMOLLM2}."
    )


def _nearest(name: str) -> str | None:
    found = get_close_matches(name.lower(), [*bundled_names(), SMOLLM2], n=1)
    return found[0] if found else None
