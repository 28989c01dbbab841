"""Text in and out: TransformerLens' tokenizing methods."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.utilities import get_attention_mask, get_tokenizer_with_bos

from .config import UNSET, HookedTransformerConfig
from .errors import TokenizerError

PaddingSide = Literal["left", "right"]


class TextInterface:
    """The methods of a model that has a tokenizer. `prepend_bos=None` means the config's `default_prepend_bos`."""

    cfg: HookedTransformerConfig
    tokenizer: Any
    W_U: Tensor

    def set_tokenizer(self, tokenizer: Any, default_padding_side: PaddingSide | None = None) -> None:
        """The model reads and writes text with this Hugging Face tokenizer from now on.

        A missing end-of-text, padding or beginning-of-text token is given the end-of-text token.

        Raises:
            TokenizerError: the tokenizer knows more tokens than the model.
        """
        if tokenizer.init_kwargs.get("name_or_path"):
            # TransformerLens reads the tokenizer again from there; one that was made in memory has no such place.
            tokenizer = get_tokenizer_with_bos(tokenizer)
        tokenizer.padding_side = default_padding_side or tokenizer.padding_side or "right"
        tokenizer.eos_token = tokenizer.eos_token or "<|endoftext|>"
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        tokenizer.bos_token = tokenizer.bos_token or tokenizer.eos_token
        size = max(tokenizer.get_vocab().values()) + 1
        if self.cfg.d_vocab == UNSET:
            self.cfg = replace(self.cfg, d_vocab=size, d_vocab_out=size)
        elif size > self.cfg.d_vocab:
            raise TokenizerError(f"the tokenizer has {size} tokens, the model's vocabulary {self.cfg.d_vocab}")
        self.tokenizer = tokenizer
        self.cfg = replace(self.cfg, tokenizer_prepends_bos=len(tokenizer.encode("")) > 0)

    def to_tokens(
        self,
        input: str | list[str],
        prepend_bos: bool | None = None,
        padding_side: PaddingSide | None = None,
        move_to_device: bool = True,
        truncate: bool = True,
    ) -> Int[Tensor, "batch pos"]:
        """The tokens of one text or several, padded to one length and cut to the context.

        Raises:
            TokenizerError: there is no tokenizer, one without the tokens that are needed, or nothing to tokenize.
        """
        tokens, _ = self.tokens_and_mask(input, prepend_bos, padding_side, truncate)
        return tokens.to(self.W_U.device) if move_to_device else tokens

    def tokens_and_mask(
        self,
        input: str | list[str],
        prepend_bos: bool | None = None,
        padding_side: PaddingSide | None = None,
        truncate: bool = True,
    ) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
        """The tokens, as `to_tokens` gives them, and a mask: 0 where a row was padded, 1 at what the text says.

        The mask is the tokenizer's own, so a text that ends with the token that also pads keeps it.

        Raises:
            TokenizerError: as `to_tokens`.
        """
        tokenizer = self._tokenizer()
        texts = [input] if isinstance(input, str) else list(input)
        if not texts:
            raise TokenizerError("there is no text to tokenize: the list is empty")
        wanted = self.cfg.default_prepend_bos if prepend_bos is None else prepend_bos
        prepends = self._prepends_bos(tokenizer)
        _require_special(tokenizer, "pad_token")
        if wanted and not prepends:
            _require_special(tokenizer, "bos_token")
            texts = [tokenizer.bos_token + text for text in texts]
        side = padding_side or tokenizer.padding_side
        try:
            encoded = tokenizer(
                texts,
                return_tensors="pt",
                padding=True,
                padding_side=side,
                truncation=truncate,
                max_length=self.cfg.n_ctx if truncate else None,
            )
        except Exception as error:
            # The library raises the bare type for a word that its vocabulary does not have.
            if type(error) is not Exception:
                raise
            raise TokenizerError(f"{input!r} has words that the tokenizer does not know: {error}") from error
        tokens, mask = encoded["input_ids"].long(), encoded["attention_mask"].long()
        if not wanted and prepends:
            # The first token of each row goes: the first column, or on the left of padding one of each row's own.
            first = mask.argmax(dim=1, keepdim=True)
            rest = (torch.arange(tokens.shape[1]) != first).nonzero()[:, 1].view(len(tokens), tokens.shape[1] - 1)
            tokens, mask = tokens.gather(1, rest), mask.gather(1, rest)
        if tokens.shape[1] == 0:
            raise TokenizerError(f"{input!r} has no tokens; prepend_bos=True gives at least one")
        return tokens, mask

    def padding_mask(
        self,
        tokens: Int[Tensor, "batch pos"],
        prepend_bos: bool | None = None,
        padding_side: PaddingSide | None = None,
    ) -> Int[Tensor, "batch pos"]:
        """0 at the padding that leads (left) or trails (right), 1 elsewhere."""
        wanted = self.cfg.default_prepend_bos if prepend_bos is None else prepend_bos
        tokenizer = self._tokenizer()
        return get_attention_mask(tokenizer, tokens, wanted, padding_side or tokenizer.padding_side)

    def to_string(self, tokens: Any) -> str | list[str]:
        """The text of one row of tokens, or a list of texts for several rows."""
        tokenizer = self._tokenizer()
        ids = torch.as_tensor(tokens)
        if ids.ndim > 2:
            raise TokenizerError(f"tokens must have one or two axes, not the shape {list(ids.shape)}")
        if ids.ndim == 2:
            return tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)
        return tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def to_str_tokens(
        self, input: Any, prepend_bos: bool | None = None, padding_side: PaddingSide | None = None
    ) -> list[Any]:
        """Each token's text: of a text, of a row of tokens, or of each member of a list.

        Raises:
            TokenizerError: several rows of tokens at once.
        """
        if isinstance(input, list):
            return [self.to_str_tokens(member, prepend_bos, padding_side) for member in input]
        if isinstance(input, str):
            ids = self.to_tokens(input, prepend_bos, padding_side)[0].tolist()
        else:
            given = np.asarray(input.cpu() if isinstance(input, Tensor) else input)
            if given.ndim > 1 and given.shape[0] != 1:
                raise TokenizerError(
                    f"one row of tokens at a time: the shape is {list(given.shape)}; pass a list of rows"
                )
            ids = given.reshape(-1).tolist()
        tokenizer = self._tokenizer()
        return tokenizer.batch_decode([[int(token)] for token in ids], clean_up_tokenization_spaces=False)

    def to_single_token(self, string: str) -> int:
        """The one token that the text is.

        Raises:
            TokenizerError: the text is several tokens; the message shows them.
        """
        tokens = self.to_tokens(string, prepend_bos=False)[0]
        if len(tokens) != 1:
            raise TokenizerError(f"{string!r} is {len(tokens)} tokens: {self.to_str_tokens(tokens)}")
        return int(tokens[0])

    def to_single_str_token(self, int_token: int) -> str:
        """The text of one token."""
        return self._tokenizer().decode([int_token], clean_up_tokenization_spaces=False)

    def get_token_position(
        self,
        single_token: str | int | Tensor,
        input: str | Tensor,
        mode: Literal["first", "last"] = "first",
        prepend_bos: bool | None = None,
        padding_side: PaddingSide | None = None,
    ) -> int:
        """Where the token first (or last) stands in the text or row of tokens.

        Raises:
            TokenizerError: it does not occur, there are several rows, or the mode is neither.
        """
        if mode not in ("first", "last"):
            raise TokenizerError(f"mode must be 'first' or 'last', not {mode!r}")
        tokens = self.to_tokens(input, prepend_bos, padding_side) if isinstance(input, str) else input
        if tokens.ndim == 2 and tokens.shape[0] != 1:
            raise TokenizerError(f"one row of tokens at a time, not the shape {list(tokens.shape)}")
        token = self.to_single_token(single_token) if isinstance(single_token, str) else int(single_token)
        places = (tokens.reshape(-1) == token).nonzero()
        if not len(places):
            raise TokenizerError(f"the token {single_token!r} does not occur in the input")
        return int(places[0] if mode == "first" else places[-1])

    def tokens_to_residual_directions(self, tokens: str | int | Tensor) -> Float[Tensor, "*pos d_model"]:
        """The columns of W_U of the tokens: what the normalised stream is multiplied with to get their logits.

        Fold the final norm first (`fold_layer_norm`); its weights are not in these columns otherwise.
        """
        if isinstance(tokens, str):
            tokens = self.to_single_token(tokens)
        if isinstance(tokens, int) or tokens.numel() == 1:
            return self.W_U[:, int(tokens)]
        return self.W_U.T[tokens.to(self.W_U.device)]

    def _prepends_bos(self, tokenizer: Any) -> bool:
        # Where a tokenizer was assigned, nobody has asked it yet, and the start token would stand there twice.
        known = self.cfg.tokenizer_prepends_bos
        return len(tokenizer.encode("")) > 0 if known is None else known

    def _tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise TokenizerError("the model has no tokenizer; pass tokens, or call set_tokenizer first")
        return self.tokenizer


def _require_special(tokenizer: Any, name: str) -> None:
    if getattr(tokenizer, name) is None:
        raise TokenizerError(
            f"the tokenizer has no {name}; give it to the model by model.set_tokenizer(tokenizer), which fills in what "
            "is missing: an assignment to model.tokenizer leaves it as it is"
        )
