"""HookedTransformer and its parts: the published contract of TransformerLens, in files that can be read."""

from .config import HookedTransformerConfig as HookedTransformerConfig
from .hook_point import HookPoint as HookPoint
from .initialisation import initialise as initialise
from .transformer import HookedTransformer as HookedTransformer
from .transformer import Output as Output
