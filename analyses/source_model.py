"""The model that a checkpoint was made for, as `transformers` runs it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.invariants import Invariant
from interp.invariants.source import same_logits

from .model_source import ModelSource
from .transformers_model import arguments_for, transformers_model


def source_invariants(source: ModelSource, dtype: torch.dtype, tokens: Int[Tensor, "batch pos"]) -> list[Invariant]:
    """That the model gives the logits of `transformers`, where it can run the checkpoint itself; else nothing.

    Args:
        tokens: what both are run on, however short the other invariants' tokens are: windows and positions matter.

    Raises:
        BadFileError: `transformers` cannot read what the model was read from.
    """
    if arguments_for(source.path) is None:
        return []
    theirs = transformers_model(source.path, dtype)

    def logits(tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"]:
        return theirs(tokens, use_cache=False).logits

    return [same_logits(logits, "transformers, on the same file", tokens)]
