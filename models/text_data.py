"""Text to train on: windows of a corpus beside rows of repeated random tokens, and held-out windows to measure on."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from .batches import HeldOutWindows, TrainingWindows, token_stream
from .corpus import Corpus
from .errors import CorpusError
from .evaluation import Estimate, held_out_loss
from .recipes import Recipe
from .repeated_rows import RepeatedRows
from .tokenizer import end_of_text, train_tokenizer
from .transformer import HookedTransformer

_CURVE_WINDOWS = 64
"""Held-out windows that a point of the curve is measured on; the end result is measured on all of them."""


@dataclass(frozen=True)
class TextData:
    """A corpus as a recipe reads it.

    Attributes:
        tokenizer: trained on the training part, with the architecture's vocabulary.
        stream: the tokens of the training part.
        held_out: the windows of the held-out part.
    """

    corpus: Corpus
    tokenizer: Tokenizer
    stream: Int[Tensor, " token"]
    windows: TrainingWindows
    repeated: RepeatedRows | None
    held_out: HeldOutWindows
    recipe: Recipe

    @classmethod
    def prepared(cls, recipe: Recipe, corpus: Corpus) -> "TextData":
        """The data of that recipe.

        Raises:
            CorpusError: too little text to train on, or too little to measure on.
        """
        if len(corpus.held_out) < 2:
            raise CorpusError(f"{len(corpus.held_out)} held-out documents: a standard error needs two or more")
        n_ctx, d_vocab = recipe.architecture.n_ctx, recipe.architecture.d_vocab
        tokenizer = train_tokenizer((document.text for document in corpus.train), d_vocab)
        stream = token_stream(tokenizer, corpus.train)
        bos = end_of_text(tokenizer)
        return cls(
            corpus,
            tokenizer,
            stream,
            TrainingWindows(stream, n_ctx, recipe.batch - recipe.repeated_rows, recipe.seed, bos),
            RepeatedRows(n_ctx, d_vocab, recipe.seed, bos) if recipe.reads_repeats else None,
            HeldOutWindows.cut(tokenizer, corpus.held_out, n_ctx),
            recipe,
        )

    @property
    def sha256(self) -> str:
        """The corpus' hash: the recipe decides everything else."""
        return self.corpus.sha256

    def batch(self, step: int) -> Int[Tensor, "row pos"]:
        """The windows of that step and behind them its repeated rows; these alone in the steps that are theirs."""
        if self.repeated is None:
            return self.windows[step]
        if step < self.recipe.repeats_only_steps:
            return self.repeated.at(step, self.recipe.batch)
        return torch.cat([self.windows[step], self.repeated.at(step, self.recipe.repeated_rows)])

    def loss(self, model: HookedTransformer, rows: Int[Tensor, "row pos"]) -> Float[Tensor, ""]:
        """The mean loss of every next token, in nats."""
        return model(rows, return_type="loss")

    def held_out_sample(self, model: HookedTransformer) -> Estimate:
        """The loss on every n-th held-out window."""
        sample = self.held_out.every(max(1, len(self.held_out.tokens) // _CURVE_WINDOWS))
        return held_out_loss(model, sample).nats_per_token
