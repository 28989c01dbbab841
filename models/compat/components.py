"""The parts of the model under TransformerLens' names, for annotations and `isinstance`.

Their constructors are ours and take other arguments than TransformerLens'; build a model, and read its parts.
"""

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

__all__ = ["MLP", "Attention", "TransformerBlock"]
