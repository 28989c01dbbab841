"""A checkpoint under Hugging Face's names, before it is one of our models."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError
from .probe import Logits
from .weights import Weights


@dataclass(frozen=True)
class Source:
    """What every road to a converted model ends in, whatever file or object it begins with.

    Attributes:
        config: the fields of Hugging Face's `config.json`, `model_type` among them.
        weights: the tensors by the names that `transformers` gives them.
        tokenizer: a `transformers` tokenizer, or None.
        name: what the model is called.
        config_origin: where the config was read, for messages.
        end_tokens: what ends a text that the model writes; () leaves it to the tokenizer.
        logits: what a model in memory computes; None for files.
    """

    config: Mapping[str, Any]
    weights: Weights
    tokenizer: Any
    name: str
    config_origin: str
    end_tokens: tuple[int, ...] = ()
    logits: Logits | None = None

    @contextmanager
    def naming_the_config(self) -> Iterator[None]:
        """Within the block, errors begin with the place that the config was read from."""
        try:
            yield
        except CheckpointError as error:
            raise CheckpointError(f"{self.config_origin}: {error}") from error
