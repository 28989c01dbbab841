"""Text, or tokens, continued token by token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm
from transformer_lens import TransformerLensKeyValueCache

from .errors import InputError
from .hook_point import as_high_precision
from .text import TextInterface

_PADDED_RIGHT = "what is continued is the last position; pad on the left, not on the right"


class Generation(TextInterface):
    """The `generate` of a model that continues what it is given."""

    __call__: Callable[..., Any]
    _checked_tokens: Callable[[Tensor], Tensor]
    end_tokens: tuple[int, ...] = ()
    """What ends a text that is written, as the model's checkpoint says; () leaves it to the tokenizer."""

    @torch.no_grad()
    def generate(
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
        padding_side: Literal["left", "right"] | None = None,
        return_type: Literal["input", "str", "tokens"] = "input",
        verbose: bool = False,
        generator: torch.Generator | None = None,
    ) -> str | list[str] | Int[Tensor, "batch pos"]:
        """The input with up to `max_new_tokens` tokens behind it; a row that is finished is filled with its end token.

        Several texts are padded on the left, and each is continued as if it were alone. Text comes back as text
        without special tokens (one text for one row), tokens as tokens `[batch, pos]`.

        Args:
            stop_at_eos: stop when every row has produced an end token.
            eos_token_id: the end token, or several of them, of which the first fills (default: those that the
                model's checkpoint names, else the tokenizer's).
            do_sample: draw from the model's distribution; else take the most likely token.
            top_k, top_p, temperature, freq_penalty: see `sampling_probabilities`. Temperature 0 is `do_sample=False`.
            use_past_kv_cache: keep keys and values instead of running the whole text again for each token.
            generator: where the random numbers come from (default: PyTorch's global generator).
            verbose: a progress bar on stderr.

        Raises:
            InputError: a text too long for the context, options that contradict one another, no end token known, or
                a model that cannot continue its own output.
            FloatingPointError: logits that are not numbers.
        """
        if return_type not in ("input", "str", "tokens"):
            raise InputError(f"return_type={return_type!r} must be 'input', 'str' or 'tokens'")
        sampling = Sampling(top_k, top_p, temperature, freq_penalty) if do_sample and temperature != 0 else None
        if sampling is None and freq_penalty:
            raise InputError(f"freq_penalty={freq_penalty} has no effect without sampling")
        tokens, mask = self._prompt(input, prepend_bos, padding_side)
        self._require_continuable(tokens.shape[1], max_new_tokens, use_past_kv_cache)
        ends = self._end_tokens(stop_at_eos, eos_token_id).to(tokens.device)
        past = self._empty_cache(tokens) if use_past_kv_cache else None
        finished = torch.zeros(tokens.shape[0], dtype=torch.bool, device=tokens.device)
        for step in tqdm(range(max_new_tokens), disable=not verbose):
            fresh = slice(-1 if past is not None and step else None, None)
            logits = self(tokens[:, fresh], attention_mask=mask[:, fresh], past_kv_cache=past)[:, -1]
            chosen = _chosen(logits, tokens, sampling, generator)
            if len(ends):
                chosen = torch.where(finished, ends[0], chosen)
                finished |= torch.isin(chosen, ends)
            tokens = torch.cat([tokens, chosen[:, None]], dim=1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            if len(ends) and bool(finished.all()):
                break
        as_tokens = return_type == "tokens" or (return_type == "input" and isinstance(input, Tensor))
        return tokens if as_tokens else self._as_text(tokens)

    def _prompt(
        self, input: str | list[str] | Tensor, prepend_bos: bool | None, padding_side: Literal["left", "right"] | None
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
        if isinstance(input, Tensor):
            tokens = self._checked_tokens(input[None] if input.ndim == 1 else input).long()
            return tokens, self._mask_of(tokens, prepend_bos, padding_side)
        if padding_side == "right" and not isinstance(input, str) and len(input) > 1:
            raise InputError(_PADDED_RIGHT)
        # Not truncated: a text that was cut would be continued from its middle.
        tokens, mask = self.tokens_and_mask(input, prepend_bos, "left", truncate=False)
        return tokens.to(self.W_U.device), mask.to(self.W_U.device)

    def _mask_of(
        self, tokens: Int[Tensor, "batch pos"], prepend_bos: bool | None, padding_side: Literal["left", "right"] | None
    ) -> Int[Tensor, "batch pos"]:
        if self.tokenizer is None:
            return torch.ones_like(tokens)
        if (padding_side or self.tokenizer.padding_side) == "left":
            return self.padding_mask(tokens, prepend_bos, "left")
        # The longest row has no padding behind it, so the end of text in every row is no sign of any.
        ends_in_padding = tokens[:, -1] == self.tokenizer.pad_token_id
        if bool(ends_in_padding.any() and not ends_in_padding.all()):
            raise InputError(_PADDED_RIGHT)
        return torch.ones_like(tokens)

    def _require_continuable(self, length: int, max_new_tokens: int, cached: bool) -> None:
        config = self.cfg
        if max_new_tokens < 0:
            raise InputError(f"max_new_tokens={max_new_tokens} is negative")
        if length + max_new_tokens > config.n_ctx:
            raise InputError(
                f"{length} tokens and {max_new_tokens} new ones are more than the model's context of {config.n_ctx}; "
                f"max_new_tokens can be at most {max(config.n_ctx - length, 0)} here"
            )
        if config.d_vocab_out != config.d_vocab:
            raise InputError(
                f"the model reads {config.d_vocab} tokens and writes {config.d_vocab_out}: its output is not its input"
            )
        if cached and config.attention_dir == "bidirectional":
            raise InputError(
                "with bidirectional attention earlier keys and values change with every token; "
                "pass use_past_kv_cache=False"
            )

    def _end_tokens(self, stop_at_eos: bool, eos_token_id: int | Sequence[int] | None) -> Int[Tensor, " end"]:
        if not stop_at_eos:
            return torch.empty(0, dtype=torch.long)
        if eos_token_id is None:
            eos_token_id = self.end_tokens or getattr(self.tokenizer, "eos_token_id", None)
        if eos_token_id is None:
            raise InputError("stop_at_eos needs an eos_token_id, since the model has no tokenizer that names one")
        ids = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
        if not ids or not all(0 <= token < self.cfg.d_vocab for token in ids):
            raise InputError(
                f"eos_token_id={eos_token_id} names no token of the vocabulary 0 to {self.cfg.d_vocab - 1}"
            )
        return torch.tensor(ids)

    def _empty_cache(self, tokens: Int[Tensor, "batch pos"]) -> TransformerLensKeyValueCache:
        # Ungrouped, keys and values are made once a query head, and are cached so.
        config: Any = self.cfg
        if self.cfg.ungroup_grouped_query_attention:
            config = replace(self.cfg, n_key_value_heads=None, ungroup_grouped_query_attention=False)
        return TransformerLensKeyValueCache.init_cache(config, tokens.device, len(tokens))

    def _as_text(self, tokens: Int[Tensor, "batch pos"]) -> str | list[str]:
        texts = self._tokenizer().batch_decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return texts[0] if len(texts) == 1 else texts


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Raises:
        InputError: on construction, for values that define no distribution.
    """

    top_k: int | None = None
    top_p: float | None = None
    temperature: float = 1.0
    freq_penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_p is not None:
            raise InputError(f"top_k={self.top_k} and top_p={self.top_p} exclude one another")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k={self.top_k} must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p} must be above 0 and at most 1")
        if not self.temperature > 0:
            raise InputError(f"temperature={self.temperature} must be 0 (the most likely token) or above")
        if self.freq_penalty < 0:
            raise InputError(f"freq_penalty={self.freq_penalty} must not be negative")


def sampling_probabilities(
    logits: Float[Tensor, "batch d_vocab"], tokens: Int[Tensor, "batch pos"], sampling: Sampling
) -> Float[Tensor, "batch d_vocab"]:
    """The distribution of the next token: softmax(logits / temperature - freq_penalty * occurrences), then cut off.

    `top_k` leaves the k most likely tokens; `top_p` the fewest most likely ones that together reach this probability.
    Source: Holtzman et al. (2020), "The Curious Case of Neural Text Degeneration", sections 3.1 and 4.3.
    """
    scores = as_high_precision(logits) / sampling.temperature
    if sampling.freq_penalty:
        occurrences = torch.zeros_like(scores).scatter_add_(1, tokens, torch.ones_like(tokens, dtype=scores.dtype))
        scores = scores - sampling.freq_penalty * occurrences
    probabilities = scores.softmax(dim=-1)
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    if sampling.top_k is not None:
        ranked[:, sampling.top_k :] = 0
    if sampling.top_p is not None and sampling.top_p < 1:
        before = ranked.cumsum(dim=-1) - ranked
        ranked[before >= sampling.top_p] = 0
    kept = torch.zeros_like(ranked).scatter(1, order, ranked)
    return kept / kept.sum(dim=-1, keepdim=True)


def _chosen(
    logits: Float[Tensor, "batch d_vocab"],
    tokens: Int[Tensor, "batch pos"],
    sampling: Sampling | None,
    generator: torch.Generator | None,
) -> Int[Tensor, " batch"]:
    if bool(logits.isnan().any()):
        raise FloatingPointError(f"the logits behind position {tokens.shape[1] - 1} are not numbers (NaN)")
    if sampling is None:
        return logits.argmax(dim=-1)
    return torch.multinomial(sampling_probabilities(logits, tokens, sampling), 1, generator=generator).squeeze(1)
