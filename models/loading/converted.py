"""From a checkpoint under Hugging Face's names to our model, with one copy of the weights."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from ..config import HookedTransformerConfig
from ..dtypes import dtype_of
from ..errors import CheckpointError, ConfigError
from ..hooked import HookedModel
from ..present_device import named_device
from ..warned import warned
from . import families
from .assembled import assemble, weightless
from .families.fields import Fields
from .placing import Placing
from .probe import require_same_logits
from .source import Source
from .start_token import without_chat_mark

Model = TypeVar("Model", bound=HookedModel)


def converted(
    source: Source,
    build: Callable[[HookedTransformerConfig], Model],
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> Model:
    """The model that the checkpoint holds, weights as they are: nothing is folded or centred.

    What was read becomes the parameters wherever no arithmetic is needed; nothing is held twice.

    Args:
        build: `HookedTransformer`, or a class derived from it.
        dtype: default: the one the weights are stored in.
        device: default: the GPU if there is one.

    Raises:
        CheckpointError: an architecture or an option that we do not have, names or shapes of weights that the config
            does not ask for, values that are not finite.
        ConfigError: a dtype or a device that is none, or a device that is not there.
        TokenizerError: the tokenizer knows more tokens than the model.
    """
    stored_in = source.weights.dtype if dtype is None else dtype_of(dtype)
    device = None if device is None else named_device(device)
    with source.naming_the_config():
        family = families.of(source.config.get("model_type"))
        fields = Fields(source.config, family.needed)
        config = _config(source, family, fields, stored_in, device)
        layout = family.layout(fields)
        tied = bool(fields["tie_word_embeddings"])
        fields.require_all_read()
    if unknown := fields.unknown():
        warned(f"{source.config_origin}: {', '.join(unknown)}: not known here, and not used")
    model = weightless(build, config)
    state = Placing(layout, model.state_dict(), source.weights, config.dtype).state(config.n_layers, tied)
    state = family.rewritten(fields, state)
    assemble(model, state, config)
    if source.tokenizer is not None:
        reading: Any = model
        reading.set_tokenizer(source.tokenizer)
        reading.cfg = without_chat_mark(reading.cfg, source.tokenizer)
    writing: Any = model
    # Numbers that the model cannot write end nothing.
    writing.end_tokens = tuple(number for number in source.end_tokens if 0 <= number < config.d_vocab)
    model.eval()
    if source.logits is not None:
        require_same_logits(source.logits, model, config.original_architecture or config.model_name)
    return model


def _config(
    source: Source,
    family: families.Family,
    fields: Fields,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> HookedTransformerConfig:
    architectures = source.config.get("architectures") or [None]
    described = family.config(fields)
    try:
        return HookedTransformerConfig(
            **described,
            dtype=dtype,
            device=None if device is None else str(device),
            init_weights=False,
            model_name=source.name,
            original_architecture=architectures[0],
        )
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"it describes no HookedTransformer: {error}") from error
