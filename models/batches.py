"""Token streams cut into windows: what a training step reads, and what a held-out loss is measured on.

Every window begins with the end-of-text token, because `to_tokens` puts one before every prompt: the model then meets
at work what it met in training. The token says no more than "a context begins here", not that a document does.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor

from .corpus import Document
from .errors import CorpusError
from .tokenizer import end_of_text


def seeded(seed: int, purpose: str) -> torch.Generator:
    """A generator for one purpose: streams of different seeds or purposes have nothing to do with each other."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def token_stream(tokenizer: Tokenizer, documents: Sequence[Document]) -> Int[Tensor, " token"]:
    """All documents one after another, each followed by the end-of-text token."""
    end = end_of_text(tokenizer)
    encoded = tokenizer.encode_batch([document.text for document in documents])
    return torch.tensor([token for one in encoded for token in (*one.ids, end)])


@dataclass(frozen=True)
class TrainingWindows:
    """The batches of a run, each a function of the seed and the step alone, so a resumed run reads what it would have.

    An epoch shifts the cuts by a random offset and shuffles the windows; it reads each of them once.
    """

    stream: Int[Tensor, " token"]
    n_ctx: int
    batch: int
    seed: int
    bos: int

    def __post_init__(self) -> None:
        if self.n_ctx < 2 or self.batches_per_epoch < 1:
            raise CorpusError(
                f"{len(self.stream)} tokens are too few for a batch of {self.batch} windows of {self.n_ctx} tokens"
            )

    @property
    def batches_per_epoch(self) -> int:
        """Batches until each window has been read once."""
        return (len(self.stream) // (self.n_ctx - 1) - 1) // self.batch

    def __getitem__(self, step: int) -> Int[Tensor, "batch pos"]:
        """The batch of that step, counted from 0."""
        epoch, index = divmod(step, self.batches_per_epoch)
        generator = seeded(self.seed, f"epoch {epoch}")
        length = self.n_ctx - 1
        offset = torch.randint(length, (), generator=generator)
        order = torch.randperm(self.batches_per_epoch * self.batch, generator=generator)
        starts = offset + length * order[index * self.batch : (index + 1) * self.batch]
        windows = self.stream[starts[:, None] + torch.arange(length)]
        return torch.cat([torch.full((self.batch, 1), self.bos), windows], dim=1)


@dataclass(frozen=True)
class HeldOutWindows:
    """Held-out documents cut into windows that predict every token exactly once; the last of each is padded."""

    tokens: Int[Tensor, "window pos"]
    n_predicted: Int[Tensor, " window"]
    document: Int[Tensor, " window"]
    n_bytes: Int[Tensor, " document"]

    @classmethod
    def cut(cls, tokenizer: Tokenizer, documents: Sequence[Document], n_ctx: int) -> "HeldOutWindows":
        """The windows of these documents."""
        bos, length = end_of_text(tokenizer), n_ctx - 1
        rows, counts, owners = [], [], []
        for index, encoded in enumerate(tokenizer.encode_batch([document.text for document in documents])):
            for start in range(0, len(encoded.ids), length):
                piece = encoded.ids[start : start + length]
                rows.append([bos, *piece] + [bos] * (length - len(piece)))
                counts.append(len(piece))
                owners.append(index)
        n_bytes = torch.tensor([len(document.text.encode()) for document in documents])
        return cls(torch.tensor(rows), torch.tensor(counts), torch.tensor(owners), n_bytes)

    def every(self, stride: int) -> "HeldOutWindows":
        """One window in `stride`: a sample for the curve (its bytes no longer fit, so no bits per byte of it)."""
        return HeldOutWindows(self.tokens[::stride], self.n_predicted[::stride], self.document[::stride], self.n_bytes)
