"""What notebooks call as `utils.NAME`: TransformerLens' own functions, and those of ours where its fail.

The name of the module is TransformerLens'. A function that is not written here is `transformer_lens.utilities`'.
"""

from typing import Any

from transformer_lens import utilities

from .defaults import LocallyOverridenDefaults as LocallyOverridenDefaults
from .downloads import download_file_from_hf as download_file_from_hf
from .downloads import get_dataset as get_dataset


def __getattr__(name: str) -> Any:
    return getattr(utilities, name)


def __dir__() -> list[str]:
    return sorted({*dir(utilities), *globals()})


__all__ = [name for name in dir(utilities) if not name.startswith("_")]
