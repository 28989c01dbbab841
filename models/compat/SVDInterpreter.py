"""The singular vectors of a layer's weights as tokens, TransformerLens' own."""

from typing import Any

import transformer_lens
from transformer_lens import FactoredMatrix

from ..transformer import HookedTransformer


class SVDInterpreter(transformer_lens.SVDInterpreter):
    """TransformerLens 4's, which reads parameters by name: weights that several heads or matrices share have none."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        if isinstance(model, HookedTransformer):
            self.params.setdefault("unembed.W_U", model.W_U)

    def _get_OV_matrix(self, layer_index: int, head_index: int) -> FactoredMatrix:
        name = f"blocks.{layer_index}.attn.W_V"
        if isinstance(self.model, HookedTransformer) and 0 <= layer_index < self.cfg.n_layers:
            self.params.setdefault(name, self.model.blocks[layer_index].attn.W_V)
        return super()._get_OV_matrix(layer_index, head_index)
