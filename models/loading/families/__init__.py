"""The architectures of Hugging Face that are ours under other names, one family a file."""

from ...errors import CheckpointError
from .family import Family as Family
from .fields import BRIDGE
from .gemma import GEMMA, GEMMA2, GEMMA3
from .gpt2 import GPT2
from .gpt_neo import GPT_NEO
from .gpt_neox import GPT_NEOX
from .gptj import GPTJ
from .impossible import nowhere
from .llama_like import LLAMA, MISTRAL, QWEN2, QWEN3
from .olmo import OLMO
from .opt import OPT
from .phi import PHI, PHI3

FAMILIES: dict[str, Family] = {
    "gpt2": GPT2,
    "gpt_neo": GPT_NEO,
    "gptj": GPTJ,
    "gpt_neox": GPT_NEOX,
    "opt": OPT,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
    "phi": PHI,
    "phi3": PHI3,
    "olmo": OLMO,
}


def of(model_type: object) -> Family:
    """The family of a `model_type`.

    Raises:
        CheckpointError: one that we do not have, with the list of those that we have, and the way that remains if
            `transformers` has it.
    """
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    text_part = f"{model_type}_text"
    if text_part in FAMILIES:
        raise CheckpointError(
            f"models of type {model_type!r} read pictures too; their text part alone, saved as {text_part!r}, is "
            f"converted. For the whole, {BRIDGE}"
        )
    names = ", ".join(FAMILIES)
    if not isinstance(model_type, str):
        raise CheckpointError(f"model_type is missing; HookedTransformer is built from {names}")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # heavy, and needed for errors alone

    if model_type in CONFIG_MAPPING_NAMES:
        raise CheckpointError(
            f"models of type {model_type!r} are not converted: HookedTransformer is built from {names}. For others, "
            f"{BRIDGE}"
        )
    raise CheckpointError(
        f"{nowhere('model_type', model_type, [*FAMILIES, *CONFIG_MAPPING_NAMES])} HookedTransformer is built from "
        f"{names}"
    )
