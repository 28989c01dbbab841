"""TransformerLens 3.9's names over this package's model: a notebook runs with `transformer_lens` replaced by this.

`from models.compat import HookedTransformer, utils` stands for `from transformer_lens import HookedTransformer, utils`,
and the modules of `transformer_lens` that notebooks import have their namesakes here. What TransformerLens 4 still has
is its own; what it removed is ours. `docs/compat.md` lists what is covered, what is not, and what to do instead.
"""

from typing import Any

import transformer_lens
from transformer_lens import TransformerLensKeyValueCache as TransformerLensKeyValueCache
from transformer_lens import TransformerLensKeyValueCacheEntry as TransformerLensKeyValueCacheEntry

from . import components as components
from . import config as config
from . import evals as evals
from . import head_detector as head_detector
from . import hook_points as hook_points
from . import loading_from_pretrained as loading_from_pretrained
from . import patching as patching
from . import train as train
from . import utilities as utilities
from . import utils as utils
from .ActivationCache import ActivationCache as ActivationCache
from .FactoredMatrix import FactoredMatrix as FactoredMatrix
from .hook_points import HookPoint as HookPoint
from .HookedRootModule import HookedRootModule as HookedRootModule
from .HookedTransformer import HookedTransformer as HookedTransformer
from .HookedTransformerConfig import HookedTransformerConfig as HookedTransformerConfig
from .module_names import name_modules
from .past_key_value_caching import HookedTransformerKeyValueCache as HookedTransformerKeyValueCache
from .past_key_value_caching import HookedTransformerKeyValueCacheEntry as HookedTransformerKeyValueCacheEntry
from .SVDInterpreter import SVDInterpreter as SVDInterpreter

loading = loading_from_pretrained
name_modules()


def __getattr__(name: str) -> Any:
    # Whatever else TransformerLens 4 has; for what it removed, its error says where it went.
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(transformer_lens, name)
