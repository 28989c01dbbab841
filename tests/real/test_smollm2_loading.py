"""SmolLM2-135M-Instruct through our classes is what it is through `transformers`."""

import unicodedata
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from torch import Tensor

from models import HookedTransformer
from models.loading.gguf import read_gguf
from models.loading.smollm2 import smollm2_file


def test_every_weight_is_theirs(theirs: Any) -> None:
    weights = read_gguf(smollm2_file()).weights
    state = {name: weight for name, weight in theirs.state_dict().items() if name != "lm_head.weight"}
    assert set(state) == weights.remaining
    for name, weight in state.items():
        assert torch.equal(weights.take(name, *weight.shape), weight), name


@torch.no_grad()
def test_the_logits_are_theirs(ours: HookedTransformer, theirs: Any, windows: Tensor) -> None:
    difference = max(float((ours(row[None]) - theirs(row[None]).logits).abs().max()) for row in windows)
    print(f"largest logit difference on 2,048 tokens: {difference:.2g}")
    assert difference < 1e-3


@torch.no_grad()
def test_padded_prompts_have_the_logits_that_theirs_have(ours: HookedTransformer, theirs: Any) -> None:
    tokens, mask = ours.tokens_and_mask(["The capital of France is", "Once"], prepend_bos=False, padding_side="left")
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    expected = theirs(tokens, attention_mask=mask, position_ids=position_ids).logits[mask.bool()]
    assert float((ours(tokens, attention_mask=mask)[mask.bool()] - expected).abs().max()) < 1e-3


@torch.no_grad()
def test_the_continuation_is_theirs_token_for_token(ours: HookedTransformer, theirs: Any) -> None:
    tokens = ours.to_tokens("The capital of France is", prepend_bos=False)
    expected = theirs.generate(tokens, max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0)
    found = ours.generate(tokens, max_new_tokens=24, do_sample=False, stop_at_eos=False, verbose=False)
    assert torch.equal(found, expected)
    assert "Paris" in ours.to_string(found[0])


def test_text_has_the_tokens_that_the_models_own_pipeline_gives(ours: HookedTransformer, text: str) -> None:
    # The pipeline of the `tokenizer.json` that the model was published with: digits alone, then GPT-2's rule.
    backend = Tokenizer.from_str(ours.tokenizer.backend_tokenizer.to_str())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    lines = text.split("\n")
    assert len(lines) > 3000
    for line in lines:
        assert ours.tokenizer(line)["input_ids"] == backend.encode(line).ids, line
        assert ours.to_string(ours.tokenizer(line)["input_ids"]) == line


def test_text_has_the_tokens_that_transformers_reads_from_the_file(
    ours: HookedTransformer, their_tokenizer: Any, text: str
) -> None:
    lines = text.split("\n")
    different = [line for line in lines if ours.tokenizer(line)["input_ids"] != their_tokenizer(line)["input_ids"]]
    # They do not know this file's rule and cut as GPT-2 does, which shows at numerals that are no decimal digits.
    assert len(different) < len(lines) / 500
    assert all(any(unicodedata.category(letter) in ("No", "Nl") for letter in line) for line in different)
    for name in ("bos_token", "eos_token", "unk_token", "pad_token", "chat_template"):
        assert getattr(ours.tokenizer, name) == getattr(their_tokenizer, name)
