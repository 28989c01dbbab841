"""The names of models that TransformerLens knew, as lists; the configurations behind them were removed with 4.0."""

from typing import Any

from transformer_lens.supported_models import MODEL_ALIASES as MODEL_ALIASES
from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES as OFFICIAL_MODEL_NAMES
from transformer_lens.supported_models import get_official_model_name as get_official_model_name

_REMOVED = (
    "get_pretrained_model_config",
    "get_pretrained_state_dict",
    "get_checkpoint_labels",
    "convert_hf_model_config",
)


def __getattr__(name: str) -> Any:
    if name in _REMOVED:
        raise AttributeError(
            f"{name} was removed with TransformerLens 4.0; HookedTransformer.from_pretrained loads the model, and its "
            "cfg and state_dict() are what you look for"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
