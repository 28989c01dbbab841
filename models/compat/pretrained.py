"""TransformerLens 3.9's ways to a pretrained model."""

from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from pathlib import PurePath
from typing import Any, Literal, TypeVar

import torch

from ..errors import CheckpointError, TokenizerError
from ..loading.converted import converted
from ..loading.source import Source
from ..loading.start_token import without_chat_mark
from ..processing_steps import State
from ..rewriting import Rewriting
from ..transformer import HookedTransformer as OurModel
from ..warned import warned
from .loading_options import heard_options, short_name, to_load, told_the_nearest
from .skipped_steps import heard_center_unembed, heard_center_writing_weights, heard_fold_ln, heard_in_place
from .tokenizer_by_name import tokenizer_by_name, tokenizer_of_config, warn_of_no_tokenizer

PaddingSide = Literal["left", "right"]
Model = TypeVar("Model", bound="NotebookPretrained")


class NotebookPretrained(OurModel):
    """Our model with `from_pretrained` as notebooks call it."""

    @classmethod
    def from_pretrained(  # the order and the defaults are TransformerLens'
        cls: type[Model],
        model_name: Any,
        fold_ln: bool | None = None,
        center_writing_weights: bool | None = None,
        center_unembed: bool | None = None,
        refactor_factored_attn_matrices: bool = False,
        checkpoint_index: int | None = None,
        checkpoint_value: int | None = None,
        checkpoint_label: int | None = None,
        hf_model: Any = None,
        device: torch.device | str | None = None,
        n_devices: int = 1,
        tokenizer: Any = None,
        move_to_device: bool = True,
        fold_value_biases: bool = True,
        default_prepend_bos: bool | None = None,
        default_padding_side: PaddingSide | None = None,
        dtype: torch.dtype | str = "float32",
        first_n_layers: int | None = None,
        n_ctx: int | None = None,
        **others: Any,
    ) -> Model:
        """A pretrained model, its weights rewritten as asked; see `models.HookedTransformer.from_pretrained`.

        Args:
            hf_model: a `transformers` model to take in the place of the one that `model_name` names.
            tokenizer: default: the one that comes with the checkpoint; for an `hf_model`, that of its name's folder
                or cached repository.
            others: `torch_dtype`; `revision`, `cache_dir`, `token` and `local_files_only` for names on the hub.

        Raises:
            CheckpointError: no such model, or files that are damaged.
            ConfigError: an option of TransformerLens' that is not supported, or that never was one.
            ProcessingError: a step explicitly asked for that is not exact here and that TransformerLens does.
        """
        given = {
            "checkpoint_index": checkpoint_index,
            "checkpoint_value": checkpoint_value,
            "checkpoint_label": checkpoint_label,
            "first_n_layers": first_n_layers,
            "n_ctx": n_ctx,
            "n_devices": None if n_devices == 1 else n_devices,
            **others,
        }
        options = heard_options(given, dtype, set(signature(cls.from_pretrained).parameters))
        with told_the_nearest(model_name):
            found = to_load(model_name, hf_model, options.hub)
        model = super().from_pretrained(
            found,
            fold_ln=fold_ln,
            center_writing_weights=center_writing_weights,
            center_unembed=center_unembed,
            refactor_factored_attn_matrices=refactor_factored_attn_matrices,
            fold_value_biases=fold_value_biases,
            device=device if move_to_device else "cpu",
            dtype=options.dtype,
        )
        model._read_with(tokenizer, default_padding_side, hf_model, model_name)
        model._name(model_name, default_prepend_bos)
        return model

    @classmethod
    def from_pretrained_no_processing(  # type: ignore[override]
        cls: type[Model],
        model_name: Any,
        fold_ln: bool = False,
        center_writing_weights: bool = False,
        center_unembed: bool = False,
        refactor_factored_attn_matrices: bool = False,
        fold_value_biases: bool = False,
        dtype: torch.dtype | str = "float32",
        default_prepend_bos: bool | None = None,
        default_padding_side: PaddingSide | None = None,
        **options: Any,
    ) -> Model:
        """A pretrained model with the weights it was trained with; options as `from_pretrained`.

        Raises:
            CheckpointError: no such model, or files that are damaged.
            ConfigError: an option of TransformerLens' that is not supported.
        """
        return cls.from_pretrained(
            model_name,
            fold_ln=fold_ln,
            center_writing_weights=center_writing_weights,
            center_unembed=center_unembed,
            refactor_factored_attn_matrices=refactor_factored_attn_matrices,
            fold_value_biases=fold_value_biases,
            dtype=dtype,
            default_prepend_bos=default_prepend_bos,
            default_padding_side=default_padding_side,
            **options,
        )

    @classmethod
    def _loaded(
        cls: type[Model], model_name: Any, device: torch.device | str | None, dtype: torch.dtype | str | None
    ) -> Model:
        if isinstance(model_name, Source):
            return converted(model_name, cls, dtype=dtype, device=device)
        with told_the_nearest(model_name):
            return super()._loaded(model_name, device, dtype)

    def _name(self, given: Any, default_prepend_bos: bool | None) -> None:
        usual = self.cfg if self.tokenizer is None else without_chat_mark(self.cfg, self.tokenizer)
        prepend = usual.default_prepend_bos if default_prepend_bos is None else default_prepend_bos
        name = short_name(given if isinstance(given, (str, PurePath)) else self.cfg.model_name)
        self.cfg = replace(self.cfg, model_name=name, default_prepend_bos=prepend)

    def _read_with(self, tokenizer: Any, padding_side: PaddingSide | None, hf_model: Any, model_name: Any) -> None:
        if tokenizer is not None:
            self.set_tokenizer(tokenizer, padding_side)
        elif hf_model is not None:
            self._read_by_name(hf_model.config.name_or_path, str(model_name))
        elif self.tokenizer is None and self.cfg.tokenizer_name:
            self._read_by_config(self.cfg.tokenizer_name)
        if padding_side is None:
            return
        if self.tokenizer is None:
            warned(f"default_padding_side={padding_side!r} has no effect: the model has no tokenizer")
        else:
            self.tokenizer.padding_side = padding_side

    def _read_by_name(self, *names: str) -> None:
        try:
            self.set_tokenizer(tokenizer_by_name(*names))
        except (CheckpointError, TokenizerError) as error:
            warn_of_no_tokenizer(error)

    def _read_by_config(self, name: str, padding_side: PaddingSide | None = None) -> None:
        tokenizer = tokenizer_of_config(name)
        if tokenizer is None:
            return
        try:
            self.set_tokenizer(tokenizer, padding_side)
        except TokenizerError as error:
            warn_of_no_tokenizer(f"tokenizer_name={name!r}: {error}")

    def load_and_process_state_dict(
        self,
        state_dict: Mapping[str, Any],
        fold_ln: bool | None = None,
        center_writing_weights: bool | None = None,
        center_unembed: bool | None = None,
        fold_value_biases: bool = True,
        refactor_factored_attn_matrices: bool = False,
    ) -> None:
        """The weights in place, rewritten; see `models.HookedTransformer.load_and_process_state_dict`."""
        fold_ln, center_unembed = heard_in_place(self.cfg, fold_ln, center_unembed)
        super().load_and_process_state_dict(
            state_dict, fold_ln, center_writing_weights, center_unembed, fold_value_biases,
            refactor_factored_attn_matrices,
        )  # fmt: skip

    def _rewriting(self, state: State, *asked: Any) -> Rewriting:
        # Every road to rewritten weights comes through here, and `models` refuses what is not exact.
        fold_ln, center_writing_weights, center_unembed, *others = asked
        return super()._rewriting(
            state,
            heard_fold_ln(self.cfg, state, fold_ln),
            heard_center_writing_weights(self.cfg, center_writing_weights),
            heard_center_unembed(self.cfg, center_unembed),
            *others,
        )
