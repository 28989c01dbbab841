"""The model under TransformerLens 3.9's constructor and methods."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import TransformerLensKeyValueCache

from ..config import UNSET
from ..config import HookedTransformerConfig as OurConfig
from ..errors import ConfigError
from ..transformer import Output as Output
from ..warned import warned
from .ActivationCache import ActivationCache
from .generation_options import hear_other_options, require_tokens_or_text
from .HookedTransformerConfig import HookedTransformerConfig
from .parts import give_classes, give_config
from .pretrained import NotebookPretrained, PaddingSide
from .tokenizer_by_name import tokenizer_of_config

SingleLoss = Float[Tensor, ""]
LossPerToken = Float[Tensor, "batch pos-1"]
Loss = SingleLoss | LossPerToken

_INSTEAD = {
    "fill_missing_keys": "load_state_dict names what is missing, and from_pretrained leaves nothing out",
    "generate_stream": "call generate, which returns when it is done",
    "get_pos_offset": "past_kv_cache[0].past_keys.shape[1] is the number of positions that a cache holds",
    "load_sample_training_dataset": "fetch it yourself with utils.get_dataset, where there is a network",
    "sample_datapoint": "draw from a data set of your own",
    "get_residual": "input_to_embed gives the stream before the first block",
}


class HookedTransformer(NotebookPretrained):
    """Our model with those of TransformerLens' methods that it leaves out. Everything else is inherited."""

    def __init__(
        self,
        cfg: OurConfig | dict[str, Any],
        tokenizer: Any = None,
        move_to_device: bool = True,
        default_padding_side: PaddingSide | None = None,
    ) -> None:
        """A model with fresh random weights; see `models.HookedTransformer`.

        Args:
            tokenizer: default: the one that the config's `tokenizer_name` names, a folder or a repository in the local
                cache of the hub; where it is not found, the model has none, with a warning.

        Raises:
            ConfigError: the config names no model, or `move_to_device=False` with a device other than the CPU.
        """
        config = HookedTransformerConfig.unwrap(cfg)
        if not move_to_device and torch.device(config.device or "cpu").type != "cpu":
            raise ConfigError(f"move_to_device=False: the config says {config.device}; make it with device='cpu'")
        # A model without numbers is filled by what loads it, its tokenizer too.
        named = config.tokenizer_name if tokenizer is None and config.device != "meta" else None
        if named and config.d_vocab == UNSET:
            tokenizer, named = tokenizer_of_config(named), None
        super().__init__(config, tokenizer, default_padding_side)
        if named:
            self._read_by_config(named, default_padding_side)
        # The mode changes nothing in our model; TransformerLens 4's patching refuses a model in training mode.
        self.eval()

    def _build(self) -> None:
        super()._build()
        give_classes(self, self.blocks)
        give_config(self, self.cfg)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "cfg":
            give_config(self, value)

    def _cache(self, activations: dict[str, Tensor], has_batch_dim: bool) -> ActivationCache:
        return ActivationCache(activations, self, has_batch_dim)

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

    def generate(  # type: ignore[override]  # the order is TransformerLens'
        self,
        input: str | list[str] | Tensor = "",
        max_new_tokens: int = 10,
        stop_at_eos: bool = True,
        eos_token_id: int | Sequence[int] | None = None,
        do_sample: bool = True,
        top_k: int | None = None,
        top_p: float | None = None,
        temperature: float = 1.0,
        freq_penalty: float = 0.0,
        use_past_kv_cache: bool = True,
        prepend_bos: bool | None = None,
        padding_side: PaddingSide | None = None,
        return_type: str | None = "input",
        verbose: bool = False,
        generator: torch.Generator | None = None,
        **others: Any,
    ) -> Any:
        """The input continued; see `models.generate`.

        Args:
            return_type: also "embeds", the embeddings of the tokens without positions.
            others: options of `transformers`' generation, which have no effect, with a warning.

        Raises:
            InputError: as there; embeddings as input; `output_logits`; a misspelt option.
        """
        kind: Any = return_type or "input"
        require_tokens_or_text(input, kind)
        hear_other_options(others, signature(self.generate).parameters)
        if freq_penalty and (not do_sample or temperature == 0):
            warned(f"freq_penalty={freq_penalty} has no effect without sampling, as in TransformerLens")
            freq_penalty = 0.0
        as_embeddings = kind == "embeds"
        continued = super().generate(
            input, max_new_tokens, stop_at_eos, eos_token_id, do_sample, top_k, top_p, temperature, freq_penalty,
            use_past_kv_cache, prepend_bos, padding_side, "tokens" if as_embeddings else kind, verbose, generator,
        )  # fmt: skip
        return self.embed(continued) if as_embeddings else continued

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
