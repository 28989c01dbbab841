"""What stands beside a trained model: `card.json` (numbers), `card.md` (for people), `sample.txt` (held-out text)."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import log
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from .batches import HeldOutWindows, seeded
from .card_text import card_text
from .corpus import Corpus, Document, repeated_share
from .evaluation import held_out_loss, unigram_entropy
from .fitting import Trained
from .head_scores import copy_losses, prefix_matching_scores, previous_token_scores, repeated_random_tokens
from .recipes import Recipe
from .text_data import TextData
from .tokenizer import end_of_text
from .transformer import HookedTransformer

PROMPTS = ("def ", "class Queue:\n", "import os\n", "    for key, value in ", "The return value is")
"""How the card's generated texts begin."""

_EXCERPTS, _EXCERPT_CHARACTERS = 8, 1500
_REPEATED_ROWS = 32
_GENERATED_TOKENS = 80
_TEMPERATURE = 0.7


@dataclass(frozen=True)
class Excerpt:
    """A passage of a held-out document."""

    source: str
    text: str


def excerpts(documents: Sequence[Document]) -> list[Excerpt]:
    """The first 1500 characters, to the end of the line, of eight documents that are at least twice as long.

    They are spread evenly over the list, so that modules and help topics both occur.
    """
    long = [document for document in documents if len(document.text) >= 2 * _EXCERPT_CHARACTERS]
    chosen = long[:: max(1, len(long) // _EXCERPTS)][:_EXCERPTS]
    return [
        Excerpt(document.name, document.text[: document.text.index("\n", _EXCERPT_CHARACTERS) + 1])
        for document in chosen
    ]


def continued(model: HookedTransformer, prompt: str, seed: int) -> str:
    """The prompt and up to 80 sampled tokens (temperature 0.7), as nobody chose them."""
    tokens = model.to_tokens(prompt)[:, : model.cfg.n_ctx // 2]
    longer = model.generate(
        tokens,
        max_new_tokens=min(_GENERATED_TOKENS, model.cfg.n_ctx - tokens.shape[1]),
        temperature=_TEMPERATURE,
        generator=seeded(seed, f"continue {prompt}"),
        return_type="tokens",
    )
    return model.tokenizer.decode(torch.as_tensor(longer)[0, 1:], clean_up_tokenization_spaces=False)


def training_flops(recipe: Recipe) -> float:
    """Floating-point operations of the run: 6 for each weight of a matrix product and predicted token, and attention.

    Source: Kaplan et al. (2020), 2.1, with the unembedding and with causal attention (half of the square) counted.
    """
    config = recipe.architecture
    matrices = config.n_params + config.d_model * config.d_vocab_out
    attention = config.n_layers * config.n_ctx * config.n_heads * config.d_head
    return 6.0 * (matrices + attention) * recipe.steps * recipe.batch * config.n_ctx


def measured(recipe: Recipe, trained: Trained[TextData]) -> dict[str, Any]:
    """Everything that the card says, as JSON."""
    model, data = trained.model, trained.data
    tokenizer, corpus, stream = data.tokenizer, data.corpus, data.stream
    held_out = held_out_loss(model, data.held_out)
    passages = excerpts(corpus.held_out)
    text = "".join(passage.text for passage in passages)
    return {
        "name": recipe.name,
        "recipe": recipe.to_dict(),
        "corpus": _corpus_facts(corpus, len(stream), held_out.n_tokens),
        "versions": versions(),
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "n_tokens": recipe.n_tokens,
        "flops": training_flops(recipe),
        "held_out": asdict(held_out),
        "baselines": {
            "ln_d_vocab": log(recipe.architecture.d_vocab),
            "unigram_entropy": unigram_entropy(stream, trained.data.held_out, recipe.architecture.d_vocab),
        },
        "curve": [asdict(point) for point in trained.curve],
        "heads": _head_facts(trained),
        "sample": {
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "sources": [passage.source for passage in passages],
            "nats_per_token": _loss_of(model, tokenizer, text),
        },
        "generated": [continued(model, prompt, recipe.seed) for prompt in PROMPTS],
    }


def versions() -> dict[str, str]:
    """What the weights depend on besides recipe and data."""
    packages = ("torch", "tokenizers", "transformer-lens")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def write_card(recipe: Recipe, trained: Trained[TextData], folder: Path) -> None:
    """`card.json`, `card.md` and `sample.txt` in the folder."""
    facts = measured(recipe, trained)
    sample = "".join(passage.text for passage in excerpts(trained.data.corpus.held_out))
    (folder / "sample.txt").write_text(sample, encoding="utf-8", newline="\n")
    (folder / "card.json").write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(card_text(facts), encoding="utf-8")


def _loss_of(model: HookedTransformer, tokenizer: Tokenizer, text: str) -> float:
    windows = HeldOutWindows.cut(tokenizer, [Document("sample.txt", text)], model.cfg.n_ctx)
    return held_out_loss(model, windows).nats_per_token.mean


def _corpus_facts(corpus: Corpus, n_train: int, n_held_out: int) -> dict[str, Any]:
    return {
        "source": corpus.source,
        "licence": "PSF-2.0",
        "sha256": corpus.sha256,
        "train": {"documents": len(corpus.train), "tokens": n_train},
        "held_out": {
            "documents": [document.name for document in corpus.held_out],
            "tokens": n_held_out,
            "share_repeated_in_training": repeated_share(corpus),
        },
    }


def _head_facts(trained: Trained[TextData]) -> dict[str, Any]:
    model = trained.model
    bos = end_of_text(trained.data.tokenizer)
    repeated = repeated_random_tokens(model, _REPEATED_ROWS, bos=bos)
    full = trained.data.held_out.tokens[trained.data.held_out.n_predicted == model.cfg.n_ctx - 1][:_REPEATED_ROWS]
    first, second = copy_losses(model, repeated)
    return {
        "previous_token": previous_token_scores(model, full).tolist(),
        "prefix_matching": prefix_matching_scores(model, repeated).tolist(),
        "copy_loss": {
            name: {"mean": float(losses.mean()), "standard_error": float(losses.std() / len(losses) ** 0.5)}
            for name, losses in (("first", first), ("second", second))
        },
    }
