"""Sums modulo a prime as sentences `a b = c`: a task small enough that a model's whole algorithm can be read off.

Source: Nanda et al. (2023), "Progress measures for grokking via mechanistic interpretability", section 3.
"""

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

from .batches import seeded
from .errors import ConfigError
from .evaluation import Estimate
from .recipes import Recipe
from .transformer import HookedTransformer

EQUALS = "="
ANSWERED_AT = 2
"""The position that reads `=`, and so says the sum."""


def all_sums(modulus: int) -> Int[Tensor, "row 4"]:
    """Every row [a, b, =, (a + b) mod p]; the sign = is token p."""
    numbers = torch.arange(modulus)
    pairs = torch.cartesian_prod(numbers, numbers)
    sums = pairs.sum(dim=1, keepdim=True) % modulus
    return torch.cat([pairs, torch.full_like(sums, modulus), sums], dim=1)


def addition_tokenizer(modulus: int) -> Tokenizer:
    """Words are tokens: `12 47 = 0` for p = 59. Any other word is an error, not a token that stands for it."""
    vocabulary = {str(number): number for number in range(modulus)} | {EQUALS: modulus}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


@dataclass(frozen=True)
class AdditionData:
    """The table of sums, split at random: a part to learn from, the rest held out.

    Attributes:
        train: rows to learn from.
        held_out: the others.
    """

    train: Int[Tensor, "train pos"]
    held_out: Int[Tensor, "held_out pos"]
    batch_size: int
    seed: int

    @classmethod
    def prepared(cls, recipe: Recipe) -> "AdditionData":
        """The data of that recipe; the modulus is the vocabulary less the sign =.

        Raises:
            ConfigError: a context of other than four tokens, or a batch larger than the training part.
        """
        if recipe.architecture.n_ctx != 4 or recipe.train_share is None:
            raise ConfigError(f"a sum has four tokens and a train_share; n_ctx is {recipe.architecture.n_ctx}")
        rows = all_sums(recipe.architecture.d_vocab - 1)
        order = torch.randperm(len(rows), generator=seeded(recipe.seed, "split"))
        n_train = int(recipe.train_share * len(rows))
        if recipe.batch > n_train:
            raise ConfigError(f"batch={recipe.batch} is larger than the {n_train} sums to learn from")
        return cls(rows[order[:n_train]], rows[order[n_train:]], recipe.batch, recipe.seed)

    @property
    def sha256(self) -> str:
        """The hash of both parts in their order."""
        return hashlib.sha256(torch.cat([self.train, self.held_out]).numpy().tobytes()).hexdigest()

    def batch(self, step: int) -> Int[Tensor, "row pos"]:
        """The rows of that step; an epoch reads each row at most once."""
        epoch, index = divmod(step, len(self.train) // self.batch_size)
        order = torch.randperm(len(self.train), generator=seeded(self.seed, f"epoch {epoch}"))
        return self.train[order[index * self.batch_size : (index + 1) * self.batch_size]]

    def loss(self, model: HookedTransformer, rows: Int[Tensor, "row pos"]) -> Float[Tensor, ""]:
        """The mean loss of the answers, in nats; nothing else of a row can be foreseen."""
        logits = model(rows[:, : ANSWERED_AT + 1])[:, ANSWERED_AT]
        return torch.nn.functional.cross_entropy(logits, rows[:, ANSWERED_AT + 1])

    def held_out_sample(self, model: HookedTransformer) -> Estimate:
        """The loss of the answer in nats on all sums held out; the sum is the unit of the standard error."""
        losses = answer_losses(model, self.held_out)
        return Estimate(float(losses.mean()), float(losses.std() / len(losses) ** 0.5))


@torch.no_grad()
def answer_losses(model: HookedTransformer, rows: Int[Tensor, "row pos"]) -> Float[Tensor, " row"]:
    """-log p of each row's sum, in nats, float64."""
    log_probs = model(rows)[:, ANSWERED_AT].double().log_softmax(dim=-1)
    return -log_probs.gather(1, rows[:, ANSWERED_AT + 1, None])[:, 0]


@torch.no_grad()
def answered_right(model: HookedTransformer, rows: Int[Tensor, "row pos"]) -> float:
    """The share of rows whose sum is the model's first choice among all tokens."""
    return float((model(rows)[:, ANSWERED_AT].argmax(dim=-1) == rows[:, ANSWERED_AT + 1]).double().mean())
