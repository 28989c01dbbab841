"""SmolLM2-135M-Instruct, loaded by us and by `transformers` from the same file."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models import HookedTransformer
from models.loading.smollm2 import smollm2_file


@pytest.fixture(scope="session", autouse=True)
def all_cores() -> None:
    """The model is large enough for them."""
    torch.set_num_threads(os.cpu_count() or 1)


@pytest.fixture(scope="session")
def ours() -> HookedTransformer:
    return HookedTransformer.from_pretrained_no_processing("smollm2", device="cpu")


@pytest.fixture(scope="session")
def theirs() -> Any:
    file = smollm2_file()
    return AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def their_tokenizer() -> Any:
    file = smollm2_file()
    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


@pytest.fixture(scope="session")
def text(shared: Path) -> str:
    """Articles of Wikipedia."""
    return (shared / "data/text-english/wikitext-2-valid.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def windows(ours: HookedTransformer, text: str) -> torch.Tensor:
    """The first 2,048 tokens of the text, in windows of 512."""
    return ours.to_tokens(text[:20_000], prepend_bos=False, truncate=False)[0, :2048].view(4, 512)
