"""HookedTransformer and its parts: the published contract of TransformerLens, in files that can be read."""

from .config import HookedTransformerConfig as HookedTransformerConfig
from .hook_point import HookPoint as HookPoint
from .initialisation import initialise as initialise
from .multi_block import multi_block as multi_block
from .one_head import one_head as one_head
from .transformer import HookedTransformer as HookedTransformer
from .transformer import Output as Output
