"""A `transformers` model that is already in memory."""

from typing import Any

import torch

from ..errors import CheckpointError
from . import families
from .end_tokens import end_tokens
from .probe import logits_of
from .source import Source
from .weights import Weights


def is_hf_model(model: object) -> bool:
    """Whether it is a model of `transformers`, without importing that package."""
    return any(base.__module__.split(".")[0] == "transformers" for base in type(model).__mro__) and hasattr(
        model, "state_dict"
    )


def read_hf_model(model: Any, tokenizer: Any = None) -> Source:
    """The checkpoint that a `transformers` model is. Its weights are copied: the two models share no memory.

    Raises:
        CheckpointError: no language-model head; weights on PyTorch's meta device, which hold no numbers.
    """
    _require_head(model)
    state = model.state_dict()
    without_numbers = [name for name, value in state.items() if value.is_meta]
    if without_numbers:
        raise CheckpointError(f"{type(model).__name__} has no numbers in {without_numbers[0]}: it was not loaded")
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    name = model.config.name_or_path or type(model).__name__
    weights = Weights(state, lambda name: state[name].detach().clone(), _dtype(model), type(model).__name__)
    ends = ends_of(model)
    origin = f"the config of this {type(model).__name__}"
    return Source(config, weights, tokenizer, name, origin, ends, logits_of(model))


def ends_of(model: Any) -> tuple[int, ...]:
    """The tokens at which the model's own `generate` ends."""
    generation = getattr(model, "generation_config", None)
    return end_tokens(None if generation is None else generation.to_dict(), model.config.to_dict())


def _require_head(model: Any) -> None:
    # Models of types that are not converted are told so, whatever their head.
    if model.config.model_type in families.FAMILIES and model.get_output_embeddings() is None:
        raise CheckpointError(
            f"{type(model).__name__} has no language-model head, so there are no logits over tokens to convert; load "
            "transformers.AutoModelForCausalLM.from_pretrained, which has one"
        )


def _dtype(model: Any) -> torch.dtype:
    found = next((parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()), None)
    return found or torch.float32
