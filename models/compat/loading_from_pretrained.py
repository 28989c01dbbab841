"""The names of models that TransformerLens knew, as lists; the configurations behind them were removed with 4.0."""

from typing import Any

from transformer_lens.supported_models import MODEL_ALIASES as MODEL_ALIASES
from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES as OFFICIAL_MODEL_NAMES
from transformer_lens.supported_models import get_official_model_name as get_official_model_name

_CONFIG = "from_pretrained(name, device='meta').cfg is the config of a model, without its weights"
_CHECKPOINTS = "from_pretrained(name, revision='step3000') loads a checkpoint that is a revision of its repository"
_INSTEAD = {
    "convert_hf_model_config": _CONFIG,
    "convert_neel_model_config": _CONFIG,
    "fill_missing_keys": "load_state_dict names what is missing, and from_pretrained leaves nothing out",
    "get_basic_config": _CONFIG,
    "get_checkpoint_labels": _CHECKPOINTS,
    "get_num_params_of_pretrained": "the model's cfg.n_params",
    "get_pretrained_model_config": _CONFIG,
    "get_pretrained_state_dict": "from_pretrained_no_processing(name).state_dict() holds the weights",
    "NEED_REMOTE_CODE_MODELS": "no code of a repository is ever run here",
    "NON_HF_HOSTED_MODEL_NAMES": "from_pretrained reads a folder",
    "PYTHIA_CHECKPOINTS": _CHECKPOINTS,
    "PYTHIA_V0_CHECKPOINTS": _CHECKPOINTS,
    "STANFORD_CRFM_CHECKPOINTS": _CHECKPOINTS,
}
_OF_A_MODEL = (
    "from_pretrained_no_processing(model) converts a model of transformers, and its state_dict() holds the weights"
)


def make_model_alias_map() -> dict[str, str]:
    """The repository that each name stands for, in small letters."""
    names = {alias.lower(): name for name in OFFICIAL_MODEL_NAMES for alias in MODEL_ALIASES.get(name, [])}
    return names | {name.lower(): name for name in OFFICIAL_MODEL_NAMES}


def __getattr__(name: str) -> Any:
    converts = name.startswith("convert_") and name.endswith("_weights")
    instead = _OF_A_MODEL if converts else _INSTEAD.get(name)
    if instead is not None:
        # An AttributeError's text would be lost where a name is imported from a module.
        raise ImportError(f"{name} was removed with TransformerLens 4.0 and is not covered by models.compat; {instead}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
