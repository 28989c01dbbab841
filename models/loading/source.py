"""A checkpoint under Hugging Face's names, before it is one of our models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .weights import Weights


@dataclass(frozen=True)
class Source:
    """What every road to a converted model ends in, whatever file or object it begins with.

    Attributes:
        config: the fields of Hugging Face's `config.json`, `model_type` among them.
        weights: the tensors by the names that `transformers` gives them.
        tokenizer: a `transformers` tokenizer, or None.
        name: what the model is called.
    """

    config: Mapping[str, Any]
    weights: Weights
    tokenizer: Any
    name: str
