"""What notebooks hand to `from_pretrained` besides TransformerLens' own arguments."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

import torch

from ..dtypes import dtype_of
from ..errors import CheckpointError, ConfigError
from ..loading.hf_hub import is_hub_name, read_hf_hub, repository_of
from ..loading.resolve import bundled_names
from ..loading.smollm2 import NAME as SMOLLM2
from ..warned import warned
from .loading_from_pretrained import make_model_alias_map

HUB = ("revision", "cache_dir", "token", "local_files_only")


@dataclass(frozen=True)
class Heard:
    """The type to load in, and where on the hub to look."""

    dtype: torch.dtype
    hub: Mapping[str, Any]


def heard_options(given: Mapping[str, Any], dtype: torch.dtype | str, known: Iterable[str]) -> Heard:
    """What the options mean here; `torch_dtype` counts before `dtype`, as in TransformerLens.

    Args:
        given: options by name; those that are None are not given.
        known: the arguments that there are, for what is misspelt.

    Raises:
        ConfigError: options that are not supported, or that never were.
    """
    left = {name: value for name, value in given.items() if value is not None}
    asked = left.pop("torch_dtype", dtype)
    if left.pop("trust_remote_code", False):
        warned("trust_remote_code has no effect: no code of a repository is ever run here, and this model needs none")
    hub = {name: left.pop(name) for name in HUB if name in left}
    for name in left:
        nearest = get_close_matches(name, {*known, *HUB, "torch_dtype", "trust_remote_code"} - {"others"}, n=1)
        if name not in known and nearest:
            raise ConfigError(f"from_pretrained takes no {name}. Did you mean {nearest[0]!r}?")
    if left:
        raise ConfigError(
            f"from_pretrained takes no {', '.join(left)} here; load the model with transformers, "
            "and pass it as hf_model"
        )
    return Heard(dtype_of(asked), hub)


def to_load(model_name: Any, hf_model: Any, hub: Mapping[str, Any]) -> Any:
    """What `models` is to load: the loaded model, else the name, or the one repository that the options single out.

    Raises:
        ConfigError: a revision of what is not on the hub.
        CheckpointError: no such repository, or none that can be read.
    """
    if not hub:
        return model_name if hf_model is None else hf_model
    if hf_model is not None:
        warned(f"{', '.join(hub)}: without effect, since the model is loaded already")
        return hf_model
    if isinstance(model_name, str) and _is_on_the_hub(model_name):
        return read_hf_hub(model_name, **hub)
    if "revision" in hub:
        raise ConfigError(f"revision={hub['revision']!r} is one of a repository on the hub, and {model_name} is none")
    warned(f"{', '.join(hub)}: without effect, since {model_name} is not looked for on the hub")
    return model_name


def short_name(name: str | PurePath) -> str:
    """The model's name in TransformerLens' configs: the repository without its owner, a folder without its path."""
    if isinstance(name, PurePath) or Path(name).expanduser().exists():
        return PurePath(name).stem if str(name).lower().endswith(".gguf") else PurePath(name).name
    return repository_of(name).rstrip("/").split("/")[-1]


@contextmanager
def told_the_nearest(model_name: Any) -> Iterator[None]:
    """Within the block, a model that is not there is told with the nearest of TransformerLens' names."""
    try:
        yield
    except CheckpointError as error:
        nearest = _nearest_name(model_name) if isinstance(model_name, str) and not Path(model_name).exists() else None
        if nearest is None:
            raise
        raise CheckpointError(f"{error}. TransformerLens has no {model_name!r}. Did you mean {nearest!r}?") from error


def _is_on_the_hub(name: str) -> bool:
    local = name in (*bundled_names(), SMOLLM2) or Path(name).expanduser().exists()
    return is_hub_name(name) and not local


def _nearest_name(name: str) -> str | None:
    known = make_model_alias_map()
    nearest = [] if name.lower() in known else get_close_matches(name.lower(), known, n=1, cutoff=0.8)
    return nearest[0] if nearest else None
