"""The architectures of Hugging Face that are ours under other names, one family a file."""

from difflib import get_close_matches

from ...errors import CheckpointError
from .family import Family as Family
from .fields import BRIDGE
from .gpt2 import GPT2
from .gpt_neox import GPT_NEOX
from .llama_like import LLAMA, MISTRAL, QWEN2, QWEN3

FAMILIES: dict[str, Family] = {
    "gpt2": GPT2,
    "gpt_neox": GPT_NEOX,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
}


def of(model_type: object) -> Family:
    """The family of a `model_type`.

    Raises:
        CheckpointError: one that we do not have, with the list of those that we have and the way that remains.
    """
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    nearest = get_close_matches(str(model_type), FAMILIES, n=1)
    hint = f" (the nearest is {nearest[0]!r})" if nearest else ""
    raise CheckpointError(
        f"models of type {model_type!r} are not converted{hint}: HookedTransformer is built from "
        f"{', '.join(FAMILIES)}. For others, {BRIDGE}"
    )
