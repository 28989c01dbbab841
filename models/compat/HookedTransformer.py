"""The model under TransformerLens 3.9's constructor and methods."""

from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import TransformerLensKeyValueCache

from ..config import HookedTransformerConfig as OurConfig
from ..errors import ConfigError, InputError
from ..processing_steps import State
from ..rewriting import Rewriting
from ..transformer import HookedTransformer as OurModel
from ..transformer import Output as Output
from .HookedTransformerConfig import HookedTransformerConfig
from .skipped_steps import heard_center_unembed, heard_center_writing_weights, heard_fold_ln

PaddingSide = Literal["left", "right"]

_INSTEAD = {
    "fill_missing_keys": "load_state_dict names what is missing, and from_pretrained leaves nothing out",
    "generate_stream": "call generate, which returns when it is done",
    "get_pos_offset": "past_kv_cache[0].past_keys.shape[1] is the number of positions that a cache holds",
    "load_sample_training_dataset": "fetch it yourself with utils.get_dataset, where there is a network",
    "sample_datapoint": "draw from a data set of your own",
    "get_residual": "input_to_embed gives the stream before the first block",
}


class HookedTransformer(OurModel):
    """Our model with those of TransformerLens' methods that it leaves out. Everything else is inherited."""

    def __init__(
        self,
        cfg: OurConfig | dict[str, Any],
        tokenizer: Any = None,
        move_to_device: bool = True,
        default_padding_side: PaddingSide | None = None,
    ) -> None:
        """A model with fresh random weights; see `models.HookedTransformer`.

        Raises:
            ConfigError: the config names no model, or `move_to_device=False` with a device other than the CPU.
        """
        config = HookedTransformerConfig.unwrap(cfg)
        if not move_to_device and torch.device(config.device or "cpu").type != "cpu":
            raise ConfigError(f"move_to_device=False: the config says {config.device}; make it with device='cpu'")
        super().__init__(config, tokenizer, default_padding_side)
        # The mode changes nothing in our model; TransformerLens 4's patching refuses a model in training mode.
        self.eval()

    @classmethod
    def from_pretrained(  # the order and the defaults are TransformerLens'
        cls,
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
    ) -> "HookedTransformer":
        """A pretrained model, its weights rewritten as asked; see `models.HookedTransformer.from_pretrained`.

        Raises:
            CheckpointError: no such model, or files that are damaged.
            ConfigError: an option of TransformerLens' that is not supported.
            ProcessingError: a step explicitly asked for that is not exact for this model.
        """
        _refuse(
            checkpoint_index=checkpoint_index,
            checkpoint_value=checkpoint_value,
            checkpoint_label=checkpoint_label,
            first_n_layers=first_n_layers,
            n_ctx=n_ctx,
            n_devices=None if n_devices == 1 else n_devices,
            **others,
        )
        model = super().from_pretrained(
            model_name if hf_model is None else hf_model,
            fold_ln=fold_ln,
            center_writing_weights=center_writing_weights,
            center_unembed=center_unembed,
            refactor_factored_attn_matrices=refactor_factored_attn_matrices,
            fold_value_biases=fold_value_biases,
            device=device if move_to_device else "cpu",
            dtype=_as_dtype(dtype),
        )
        if tokenizer is not None:
            model.set_tokenizer(tokenizer, default_padding_side)
        elif default_padding_side is not None:
            model._tokenizer().padding_side = default_padding_side
        if default_prepend_bos is not None:
            model.cfg = replace(model.cfg, default_prepend_bos=default_prepend_bos)
        return model

    @classmethod
    def from_pretrained_no_processing(  # type: ignore[override]
        cls,
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
    ) -> "HookedTransformer":
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

    @property
    def n_params_total(self) -> int:
        """The number of all parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def input_to_embed(
        self,
        input: str | list[str] | Tensor,
        prepend_bos: bool | None = None,
        padding_side: PaddingSide | None = None,
        attention_mask: Tensor | None = None,
        past_kv_cache: TransformerLensKeyValueCache | None = None,
    ) -> tuple[Float[Tensor, "batch pos d_model"], Int[Tensor, "batch pos"], Tensor | None, Tensor | None]:
        """The stream before the first block, the tokens, positions that are no part of the stream, the padding mask.

        The third is None but where the positions are shortformer's.

        Raises:
            InputError: tokens that do not fit the model.
        """
        tokens, mask = self._tokens_and_mask(input, prepend_bos, padding_side, attention_mask)
        context = self._context(tokens.shape, mask, past_kv_cache)
        return self._embedded(tokens, context), tokens, context.added, mask

    def generate(self, *args: Any, **options: Any) -> Any:
        """The input continued; see `models.generate`.

        Raises:
            InputError: as there, or a kind of output that is none of "input", "str" and "tokens".
        """
        kind = options.get("return_type", "input")
        if kind not in ("input", "str", "tokens"):
            raise InputError(f"return_type must be 'input', 'str' or 'tokens', not {kind!r}")
        return super().generate(*args, **options)

    def mps(self) -> "HookedTransformer":
        """The model on an Apple GPU."""
        return self.to("mps")

    def move_model_modules_to_device(self) -> None:
        """The model on the device that its config names."""
        self.to(self.cfg.device)

    def __getattr__(self, name: str) -> Any:
        if name in _INSTEAD:
            raise AttributeError(f"{name} is not covered by models.compat; {_INSTEAD[name]}")
        return super().__getattr__(name)


def _as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype):
        raise ConfigError(f"dtype={dtype!r} is not a type of PyTorch's, as 'float32' is")
    return found


def _refuse(**options: Any) -> None:
    asked = [name for name, value in options.items() if value is not None]
    if asked:
        raise ConfigError(
            f"from_pretrained takes no {', '.join(asked)} here; load the model with transformers, "
            "and pass it as hf_model"
        )
