"""What is said of the fields of a config that weights do not determine: what each may be."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_args

from torch import Tensor

from ..config import Activation, HookedTransformerConfig
from ..errors import CheckpointError

_DEFAULTS = {field.name: field.default for field in fields(HookedTransformerConfig)}
_CAP = "a positive number, or -1.0 for no cap"


def fields_missing(state: Mapping[str, Tensor], found: Mapping[str, Any], names: Iterable[str]) -> CheckpointError:
    """The error that lists the fields, with the values that they may have and TransformerLens' defaults.

    Args:
        found: the fields that are known.
    """
    names = list(names)
    said = _said(state, found["d_head"])
    lines = "".join(f"\n  {name}: {said[name]}" for name in names)
    count = "a field" if len(names) == 1 else f"{len(names)} fields"
    return CheckpointError(
        f"the weights do not say {count} of the config:{lines}\nGive what the model was trained with, or the whole "
        f"config: load_tl_checkpoint(path, config={{{names[0]!r}: ..., ...}}) of models.loading.foreign. The folder "
        "that save(model, folder) of models.loading.folder then writes is what from_pretrained and commands take."
    )


def _said(state: Mapping[str, Tensor], d_head: int) -> dict[str, str]:
    learned = "pos_embed.W_pos" in state
    return {
        "n_ctx": "a positive integer, the longest text in tokens",
        # Norms with weights would be seen among them.
        "normalization_type": "'LNPre', 'RMSPre' (with eps) or None",
        "positional_embedding_type": f"'standard' or 'shortformer'{_default('positional_embedding_type')}"
        if learned
        else "'rotary' (with rotary_dim, rotary_base and rotary_adjacent_pairs) or 'none'",
        "act_fn": f"one of {', '.join(map(repr, get_args(Activation)))}{_default('act_fn')}",
        "parallel_attn_mlp": f"True or False{_default('parallel_attn_mlp')}",
        "eps": f"a number, what norms add under their root{_default('eps')}",
        "rotary_dim": f"an even number up to d_head={d_head}; by default d_head",
        "rotary_base": f"a positive number{_default('rotary_base')}",
        "rotary_adjacent_pairs": f"True (GPT-J) or False (Llama, GPT-NeoX){_default('rotary_adjacent_pairs')}",
        "attn_scores_soft_cap": f"{_CAP}{_default('attn_scores_soft_cap')}",
        "output_logits_soft_cap": f"{_CAP}{_default('output_logits_soft_cap')}",
        "attn_scale": f"a positive number; by default the root of d_head, {math.sqrt(d_head):.6g}. Instead of it, "
        "use_attn_scale (True for the default, False for 1) or scale_attn_by_inverse_layer_idx (True for GPT-2 of "
        "Mistral)",
    }


def _default(name: str) -> str:
    return f"; by default {_DEFAULTS[name]!r}"
