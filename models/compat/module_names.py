"""Modules under a second name, for what is imported from inside TransformerLens' packages."""

import pkgutil
import sys
from importlib import import_module
from types import ModuleType

from transformer_lens import cache, utilities

from . import components, config

_PACKAGE = __name__.rpartition(".")[0]
_OF_COMPONENTS = (
    "abstract_attention", "attention", "embed", "grouped_query_attention", "layer_norm", "layer_norm_pre", "pos_embed",
    "rms_norm", "rms_norm_pre", "transformer_block", "unembed", "mlps", "mlps.can_be_used_as_mlp", "mlps.gated_mlp",
    "mlps.mlp",
)  # fmt: skip


def name_modules() -> None:
    """Those of TransformerLens 4's modules that 3.9 had too are found under our name, and ours under each of 3.9's."""
    for name in ("supported_models", "weight_processing"):
        _name(name, import_module(f"transformer_lens.{name}"))
    for package in (utilities, cache):
        short = package.__name__.rpartition(".")[2]
        for module in pkgutil.iter_modules(package.__path__):
            _name(f"{short}.{module.name}", import_module(f"{package.__name__}.{module.name}"))
    _name("cache", cache)
    _name("config.hooked_transformer_config", config)
    for name in _OF_COMPONENTS:
        _name(f"components.{name}", components)
        # `import ...components.mlps.mlp as mlp` looks for the last name in what the name before it is: ours.
        _name(f"components.{name.rpartition('.')[2]}", components)


def _name(name: str, module: ModuleType) -> None:
    sys.modules[f"{_PACKAGE}.{name}"] = module
