"""A model of TransformerLens 4: the `transformers` model inside a `TransformerBridge`, under its own names again."""

from typing import Any

import torch

from ..errors import CheckpointError
from .hf_model import ends_of
from .source import Source
from .weights import Weights

_WRAPPER = "._original_component"


def is_bridge(model: object) -> bool:
    """Whether it is a `TransformerBridge`, without importing that class."""
    return any(base.__name__ == "TransformerBridge" for base in type(model).__mro__)


def read_bridge(bridge: Any, tokenizer: Any = None) -> Source:
    """The checkpoint inside a bridge. Its weights are copied: the two models share no memory.

    Args:
        tokenizer: default: the bridge's.

    Raises:
        CheckpointError: weights that the bridge has rewritten, or no model of `transformers` inside.
    """
    if getattr(bridge, "_weights_processed", False):
        raise CheckpointError(
            "the bridge's weights were folded and centred by enable_compatibility_mode; pass a bridge as it was "
            "booted: from_pretrained folds and centres by itself"
        )
    inner: Any = bridge.original_model
    config: Any = getattr(inner, "config", None)
    if not hasattr(config, "model_type"):
        raise CheckpointError(
            f"the bridge holds a {type(inner).__name__}, which is no model of transformers; "
            "its config and state dict build a HookedTransformer directly"
        )
    stored = {name.replace(_WRAPPER, ""): value for name, value in inner.state_dict().items()}
    weights = {name: stored[name] for name in _own_names(inner) if name in stored}
    return Source(
        config={**config.to_dict(), "architectures": [type(inner).__name__]},
        weights=Weights(weights, lambda name: weights[name].detach().clone(), _dtype(inner), "the bridge"),
        tokenizer=tokenizer or bridge.tokenizer,
        name=config.name_or_path or type(inner).__name__,
        config_origin=f"the config of the {type(inner).__name__} in the bridge",
        end_tokens=ends_of(inner),
        logits=lambda tokens: bridge(tokens.to(next(inner.parameters()).device)),
    )


def _own_names(inner: Any) -> list[str]:
    """The names of the model's weights before the bridge put its components between its modules."""
    with torch.device("meta"):
        return list(type(inner)(inner.config).state_dict())


def _dtype(inner: Any) -> torch.dtype:
    return next(parameter.dtype for parameter in inner.parameters() if parameter.is_floating_point())
