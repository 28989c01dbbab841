"""The tokens at which a model ends what it writes: chat models have several, of which a tokenizer names one."""

from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError


def end_tokens(*configs: Mapping[str, Any] | None) -> tuple[int, ...]:
    """The `eos_token_id` of the first of these configs that has one, `generation_config.json` before `config.json`.

    Raises:
        CheckpointError: it is neither a number nor a list of them.
    """
    for config in configs:
        given = (config or {}).get("eos_token_id")
        numbers = given if isinstance(given, list) else [given]
        if given is not None and not all(isinstance(number, int) for number in numbers):
            raise CheckpointError(f"eos_token_id={given!r} is neither the number of a token nor a list of them")
        if given is not None:
            return tuple(numbers)
    return ()
