"""A model with other weights for the length of a block, and with its own again behind it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor


@contextmanager
def other_weights(model: Any, weights: Mapping[str, Shaped[Tensor, "..."]]) -> Iterator[None]:
    """Within the block the model's parameters of these names hold these numbers; bit for bit its own behind it.

    Written into the parameters: `torch.func.functional_call` does not give a `TransformerBridge` its own weights back,
    whose modules stand in it under several names.

    Raises:
        KeyError: a name that no parameter has.
    """
    parameters = dict(model.named_parameters())
    own = {name: parameters[name].detach().clone() for name in weights}
    try:
        with torch.no_grad():
            for name, values in weights.items():
                parameters[name].copy_(values)
        yield
    finally:
        with torch.no_grad():
            for name, values in own.items():
                parameters[name].copy_(values)
