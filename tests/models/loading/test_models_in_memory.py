"""A `transformers` model or a bridge that is already loaded becomes ours, and shares no memory with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertModel,
)

from models import HookedTransformer
from models.errors import CheckpointError
from tests.conftest import SMALL, random_tokens
from tests.models.loading.architectures import CASES, tiny
from tests.models.loading.comparison import compared
from tests.models.word_tokenizer import word_tokenizer

ONE_EACH = [case for case in CASES if "," not in case]


def booted(case: str, folder: Path) -> TransformerBridge:
    """A bridge on the model of a case."""
    tiny(case).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float64)


@pytest.mark.parametrize("case", ONE_EACH)
def test_a_transformers_model_is_converted(case: str) -> None:
    theirs = tiny(case)
    ours = HookedTransformer.from_pretrained_no_processing(theirs, device="cpu")
    assert compared(theirs, ours).logits < 1e-8
    assert ours.cfg.original_architecture == type(theirs).__name__


@pytest.mark.parametrize("case", ONE_EACH)
def test_a_bridge_is_converted(case: str, tmp_path: Path) -> None:
    ours = HookedTransformer.from_pretrained_no_processing(booted(case, tmp_path), device="cpu")
    assert compared(tiny(case), ours).logits < 1e-8
    assert ours.tokenizer.convert_tokens_to_ids("cat") == 6


def test_changing_one_model_leaves_the_other_as_it_is() -> None:
    theirs = tiny("llama")
    ours = HookedTransformer.from_pretrained_no_processing(theirs, device="cpu")
    before = ours(random_tokens())
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.zero_()
    assert torch.equal(ours(random_tokens()), before)


def test_copies_of_a_shared_norm_are_two() -> None:
    ours = HookedTransformer.from_pretrained_no_processing(tiny("gptj"), device="cpu")
    block = ours.blocks[0]
    assert torch.equal(block.ln1.w, block.ln2.w)
    assert block.ln1.w.data_ptr() != block.ln2.w.data_ptr()


@pytest.mark.parametrize("case", ONE_EACH)
def test_folding_keeps_what_the_model_says(case: str) -> None:
    theirs = tiny(case)
    raw = HookedTransformer.from_pretrained_no_processing(theirs, device="cpu")
    folded = HookedTransformer.from_pretrained(theirs, device="cpu")
    tokens = random_tokens()
    assert folded.cfg.normalization_type in ("LNPre", "RMSPre")
    torch.testing.assert_close(folded(tokens).log_softmax(-1), raw(tokens).log_softmax(-1), atol=1e-9, rtol=0)


def test_a_bridge_whose_weights_were_rewritten_is_refused(tmp_path: Path) -> None:
    bridge = booted("gpt2", tmp_path)
    HookedTransformer.from_pretrained_no_processing(bridge, device="cpu")
    bridge.enable_compatibility_mode()
    with pytest.raises(CheckpointError, match="folded and centred by enable_compatibility_mode"):
        HookedTransformer.from_pretrained_no_processing(bridge)


def test_a_bridge_without_a_transformers_model_is_refused() -> None:
    native = TransformerBridge.boot_native(
        {**{k: v for k, v in SMALL.items() if k not in ("dtype", "device")}, "normalization_type": "LN", "seed": 0}
    )
    with pytest.raises(CheckpointError, match="no model of transformers"):
        HookedTransformer.from_pretrained_no_processing(native)


def test_a_model_without_numbers_is_refused() -> None:
    theirs = tiny("llama").to("meta")
    with pytest.raises(CheckpointError, match="it was not loaded"):
        HookedTransformer.from_pretrained_no_processing(theirs)


HEADLESS = [
    (AutoModel, "llama", "LlamaModel"),
    (AutoModel, "llama, tied", "LlamaModel"),
    (AutoModel, "gpt2", "GPT2Model"),
    (AutoModelForSequenceClassification, "llama", "LlamaForSequenceClassification"),
    (AutoModelForTokenClassification, "qwen2", "Qwen2ForTokenClassification"),
    (AutoModelForQuestionAnswering, "opt", "OPTForQuestionAnswering"),
]


@pytest.mark.parametrize(("auto", "case", "name"), HEADLESS)
def test_a_model_without_a_language_model_head_is_refused(auto: Any, case: str, name: str) -> None:
    config = tiny(case).config
    HookedTransformer.from_pretrained_no_processing(AutoModelForCausalLM.from_config(config), device="cpu")
    with pytest.raises(CheckpointError, match=f"^{name} has no language-model head, .*AutoModelForCausalLM"):
        HookedTransformer.from_pretrained_no_processing(auto.from_config(config), device="cpu")


def test_a_headless_model_of_another_type_is_refused_for_its_type() -> None:
    encoder = BertModel(BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(CheckpointError, match="models of type 'bert' are not converted"):
        HookedTransformer.from_pretrained_no_processing(encoder)


@pytest.mark.parametrize("thing", [3, None, torch.nn.Linear(2, 3)])
def test_something_else_is_refused(thing: Any) -> None:
    with pytest.raises(CheckpointError, match="is no model to convert"):
        HookedTransformer.from_pretrained(thing)
