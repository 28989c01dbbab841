"""The methods of a model that bring weights in, checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from .dtypes import dtype_of
from .keywords import NoKeyword, require_no_others
from .loading.converted import converted
from .loading.rebuilt import rebuilt
from .loading.resolve import located
from .loading.saved import WEIGHTS, Saved, read
from .loading.source import Source
from .loading.state import accepted
from .present_device import named_device
from .processing import WeightProcessing

Model = TypeVar("Model", bound="Pretrained")


class Pretrained(WeightProcessing):
    """Loading for a `HookedTransformer`; TransformerLens' names, and nothing loads halfway."""

    tokenizer: Any

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """The weights in place. State dicts saved by TransformerLens 3.9 and earlier load unchanged.

        See `models.loading.state.accepted` for what is left out of them.

        Raises:
            CheckpointError: names missing or unexpected (both lists), wrong shapes, numbers that are not finite.
        """
        return super().load_state_dict(accepted(self, state_dict, strict), strict=strict, assign=assign)

    @classmethod
    def from_pretrained(
        cls: type[Model],
        model_name: Any,
        *,
        fold_ln: bool | None = None,
        center_writing_weights: bool | None = None,
        center_unembed: bool | None = None,
        fold_value_biases: bool = True,
        refactor_factored_attn_matrices: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        **misspelt: NoKeyword,
    ) -> Model:
        """The model of that name, its weights rewritten as `load_and_process_state_dict` does.

        `from_pretrained_no_processing` leaves the rewriting out. Both hold the weights once: what was read becomes the
        parameters, and is rewritten where it stands, part by part. Both give a model in evaluation mode.

        Args:
            model_name: a bundled model (`models.loading.bundled_names()`); a folder of ours or of Hugging Face's; a
                GGUF file, or one of nanoGPT, llama2.c or TransformerLens; a name on the Hugging Face hub; a loaded
                `transformers` model; a `TransformerBridge`.
            device: where to (default: the GPU if there is one), tensor by tensor; "meta" for names and shapes alone.
            dtype: `torch.float64` or its name, "float64" (default: the one it was saved in).

        Raises:
            CheckpointError: no such model, files that are damaged, or an architecture that we do not have.
            ConfigError: a device that is not there, or a dtype that models do not compute in.
            ProcessingError: a step explicitly asked for that is not exact for this model.
            TypeError: a keyword that is none of these; the nearest one is named.
        """
        require_no_others(misspelt, Pretrained.from_pretrained)
        # Where there are to be no numbers, they are needed on the way: what can be folded depends on them.
        without_numbers = device is not None and named_device(device).type == "meta"
        model = cls._loaded(model_name, "cpu" if without_numbers else device, dtype)
        model._process_as_loaded(
            fold_ln, center_writing_weights, center_unembed, fold_value_biases, refactor_factored_attn_matrices
        )
        return model.to("meta") if without_numbers else model

    @classmethod
    def from_pretrained_no_processing(
        cls: type[Model],
        model_name: Any,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        **misspelt: NoKeyword,
    ) -> Model:
        """The model of that name with the weights it was trained with; the arguments are those of `from_pretrained`.

        Raises:
            CheckpointError: no such model, files that are damaged, or an architecture that we do not have.
            ConfigError: a device that is not there, or a dtype that models do not compute in.
            TypeError: a keyword that is none of these; the nearest one is named.
        """
        require_no_others(misspelt, Pretrained.from_pretrained_no_processing)
        return cls._loaded(model_name, device, dtype)

    @classmethod
    def _loaded(
        cls: type[Model], model_name: Any, device: torch.device | str | None, dtype: torch.dtype | str | None
    ) -> Model:
        # Before anything is read, so that no file is blamed for what the caller asked.
        device = None if device is None else named_device(device)
        dtype = None if dtype is None else dtype_of(dtype)
        found = located(model_name)
        if isinstance(found, Source):
            return converted(found, cls, dtype=dtype, device=device)
        if isinstance(found, Saved):
            return rebuilt(found, cls, model_name, dtype=dtype, device=device)
        return cls.from_folder(found, device, dtype)

    @classmethod
    def from_folder(
        cls: type[Model], folder: str | Path, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Model:
        """The model that `models.loading.folder.save` wrote, as it was saved.

        Raises:
            CheckpointError: files that are missing, changed, truncated, of another format or not this model's.
        """
        return rebuilt(read(folder), cls, Path(folder) / WEIGHTS, dtype=dtype, device=device)
