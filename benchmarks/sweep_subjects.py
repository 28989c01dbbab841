"""The models that the sweeps are measured on, each with the same model as TransformerLens builds it, and a text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from models import HookedTransformer, multi_block
from models.loading.resolve import resolved

from . import native_bridge


@dataclass(frozen=True)
class Subject:
    """A model, TransformerLens' native bridge with its weights, and the tokens its prompts are passages of."""

    model: HookedTransformer
    bridge: Any
    text: Int[Tensor, " token"]
    about: str


@torch.no_grad()
def gpt2_small(device: str) -> Subject:
    """GPT-2 small's dimensions with seeded random weights, and random tokens."""
    config = multi_block(12, 12, 768, d_vocab=50257, n_ctx=1024, act_fn="gelu_new", seed=0, device=device)
    model = HookedTransformer(config).eval()
    text = torch.randint(config.d_vocab, (20_000,), generator=torch.Generator().manual_seed(1))
    about = "12 blocks x 768, 12 heads, MLP 3072, vocabulary 50257; random weights, random tokens"
    return Subject(model, native_bridge.from_hooked(model), text.to(device), about)


@torch.no_grad()
def stdlib_4l(device: str) -> Subject:
    """The bundled four-block model as it was trained, and passages of its held-out text."""
    model = HookedTransformer.from_pretrained_no_processing("stdlib-4l", device=device).eval()
    model.b_U.zero_()  # the native bridge has none
    text = model.to_tokens((resolved("stdlib-4l") / "sample.txt").read_text(), truncate=False)[0]
    about = "4 blocks x 128, 4 heads, MLP 512, vocabulary 1024; trained (without b_U), passages of held-out source"
    return Subject(model, native_bridge.from_hooked(model), text, about)


SUBJECTS: dict[str, Callable[[str], Subject]] = {"gpt2-small": gpt2_small, "stdlib-4l": stdlib_4l}
