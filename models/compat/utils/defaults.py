"""Defaults of a model changed for a block of code; configs stay frozen, so the model gets a changed copy meanwhile."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from ...config import HookedTransformerConfig
from ...errors import InputError

_ALLOWED = {"prepend_bos": (None, True, False), "padding_side": (None, "left", "right")}


class LocallyOverridenDefaults:
    """Within the block, the model's defaults are those given; afterwards they are what they were, whatever happened.

    Args:
        overrides: `prepend_bos` and `padding_side`. None leaves the default; without a tokenizer there is no side.

    Raises:
        InputError: another name, or a value that it cannot have.
    """

    def __init__(self, model: Any, **overrides: Any) -> None:
        for name, value in overrides.items():
            if name not in _ALLOWED:
                raise InputError(f"{name} is no default of a model; those are {' and '.join(_ALLOWED)}")
            if value not in _ALLOWED[name]:
                raise InputError(f"{name}={value!r} must be one of {', '.join(map(repr, _ALLOWED[name]))}")
        self.model = model
        self.overrides = {name: value for name, value in overrides.items() if value is not None}
        self._undo = ExitStack()

    def __enter__(self) -> None:
        if "prepend_bos" in self.overrides:
            self._override_prepend_bos(self.overrides["prepend_bos"])
        tokenizer = self.model.tokenizer
        if "padding_side" in self.overrides and tokenizer is not None:
            self._undo.callback(setattr, tokenizer, "padding_side", tokenizer.padding_side)
            tokenizer.padding_side = self.overrides["padding_side"]

    def __exit__(self, *raised: object) -> None:
        self._undo.close()

    def _override_prepend_bos(self, value: bool) -> None:
        before = self.model.cfg
        if not isinstance(before, HookedTransformerConfig):
            # A bridge's config is shared by its parts, and not frozen.
            self._undo.callback(setattr, before, "default_prepend_bos", before.default_prepend_bos)
            before.default_prepend_bos = value
            return
        meanwhile = replace(before, default_prepend_bos=value)
        self._undo.callback(self._restore_prepend_bos, before, meanwhile)
        self.model.cfg = meanwhile

    def _restore_prepend_bos(self, before: HookedTransformerConfig, meanwhile: HookedTransformerConfig) -> None:
        # What else was changed within the block, a switch for one, stays changed.
        now = self.model.cfg
        unchanged = now is meanwhile
        self.model.cfg = before if unchanged else replace(now, default_prepend_bos=before.default_prepend_bos)
