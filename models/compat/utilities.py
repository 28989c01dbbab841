"""The same functions as `models.compat.utils`, under the name that TransformerLens gave them last."""

from typing import Any

from . import utils


def __getattr__(name: str) -> Any:
    return getattr(utils, name)


def __dir__() -> list[str]:
    return dir(utils)
