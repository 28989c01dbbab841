"""The parts of the model under TransformerLens' names, for annotations and `isinstance`.

Their constructors are ours and take other arguments than TransformerLens'; build a model, and read its parts.
"""

from typing import Any

from ..attention import Attention as Attention
from ..attention import GroupedQueryAttention as GroupedQueryAttention
from ..blocks import PreNormBlock as TransformerBlock
from ..embedding import Embed as Embed
from ..embedding import Unembed as Unembed
from ..mlps import MLP as MLP
from ..mlps import GatedMLP as GatedMLP
from ..norms import LayerNorm as LayerNorm
from ..norms import LayerNormPre as LayerNormPre
from ..norms import RMSNorm as RMSNorm
from ..norms import RMSNormPre as RMSNormPre
from ..positions import PosEmbed as PosEmbed

AbstractAttention = Attention
CanBeUsedAsMLP = MLP

_OF_OTHER_MODELS = (
    "BertBlock", "BertEmbed", "BertMLMHead", "BertNSPHead", "BertPooler", "MoE", "T5Attention", "T5Block",
    "TokenTypeEmbed",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _OF_OTHER_MODELS:
        # An AttributeError's text would be lost where a name is imported from a module.
        raise ImportError(
            f"{name} is of models that are not built here; TransformerLens 4's TransformerBridge runs them"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["MLP", "AbstractAttention", "Attention", "CanBeUsedAsMLP", "TransformerBlock"]
