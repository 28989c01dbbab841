"""A task: prompt pairs with answers, as data. A model's tokenizer makes tokens of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from ..errors import TokensError
from .pair import Pair
from .prompt_pairs import PromptPairs
from .tokenised import tokenised

PATIENCE = 1000
"""Draws in a row that bring no new pair before it is concluded that there are no more."""


@dataclass(frozen=True)
class Task:
    """Prompt pairs with answers, the same for every model.

    Attributes:
        name: what it is called.
        description: what a model must do to be right, and how the corrupted prompts differ.
        pairs: the prompts.
        source: where it is from.
    """

    name: str
    description: str
    pairs: tuple[Pair, ...]
    source: str = ""

    def on(self, model: Any, *, most_common_length: bool = False) -> PromptPairs:
        """The pairs as tokens of the model, checked.

        Args:
            most_common_length: of pairs that have different numbers of tokens, those of the most common number only.

        Raises:
            TokensError: prompts of different lengths, within a pair or between pairs; an answer that is not a single
                token, or also a wrong one; words that the tokenizer does not know; what the model cannot read.
            DegenerateBaselineError: a prompt that is the same clean and corrupted.
        """
        return tokenised(model, self.name, self.pairs, most_common_length)


@dataclass(frozen=True)
class DrawnTask:
    """A task whose prompts are drawn for a model: of the words that are single tokens of it.

    The same model, number and seed give the same pairs, and fewer pairs are the first of more.

    Attributes:
        name: what it is called.
        description: what a model must do to be right, and how the corrupted prompts differ.
        source: where it is from.
        draw: pairs without end, of a model and a source of randomness.
        n_prompts: how many pairs.
        seed: of the draws.
    """

    name: str
    description: str
    source: str
    draw: Callable[[Any, Random], Iterator[Pair]]
    n_prompts: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_prompts < 1:
            raise TokensError(f"n_prompts={self.n_prompts} must be at least 1")

    def drawn_for(self, model: Any) -> Task:
        """The pairs that are drawn for this model, no two of them the same; other models can be given them too.

        Raises:
            TokensError: too few words are single tokens of the model, or there are not so many different pairs.
        """
        pairs: dict[Pair, None] = {}
        fruitless = 0
        for pair in self.draw(model, Random(self.seed)):
            fruitless = fruitless + 1 if pair in pairs else 0
            pairs[pair] = None
            if len(pairs) == self.n_prompts:
                return Task(self.name, self.description, tuple(pairs), self.source)
            if fruitless == PATIENCE:
                break
        raise TokensError(
            f"{self.name} has no {self.n_prompts} different pairs for this model: {len(pairs)} were found, and the "
            f"next {fruitless} draws brought no other"
        )

    def on(self, model: Any, *, most_common_length: bool = False) -> PromptPairs:
        """The pairs that are drawn for this model, as its tokens, checked.

        Raises:
            TokensError: as `drawn_for` and `Task.on`.
        """
        return self.drawn_for(model).on(model, most_common_length=most_common_length)
