"""TransformerLens 4's bridges around tiny `transformers` models, and our models with the same weights."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any, Literal

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from models import HookedTransformer
from tests.models.loading.architectures import CASES, D_VOCAB, NO_HEAD_DIM
from tests.models.loading.in_float64 import float64_throughout, with_order_one_weights
from tests.models.word_tokenizer import word_tokenizer

Kind = Literal["booted", "folded"]

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("bloom", {"vocab_size": D_VOCAB, "hidden_size": 24, "n_layer": 3, "n_head": 4}),
    "olmo2": ("olmo2", NO_HEAD_DIM),
    "granite": ("granite", {**NO_HEAD_DIM, "residual_multiplier": 0.3, "attention_multiplier": 0.7}),
}
"""Architectures that are not converted, as `CASES`."""


def tiny(case: str) -> PreTrainedModel:
    """The model of a case, in float64, its weights of order one."""
    model_type, fields = {**CASES, **REFUSED}[case]
    with float64_throughout():
        config = AutoConfig.for_model(model_type, **deepcopy(fields))
        return with_order_one_weights(AutoModelForCausalLM.from_config(config, attn_implementation="eager"))


@cache
def bridge(case: str, kind: Kind = "booted") -> TransformerBridge:
    """A bridge as it is booted, or behind `enable_compatibility_mode`; run it within `float64_throughout`."""
    with tempfile.TemporaryDirectory() as folder, float64_throughout(), without_words():
        tiny(case).save_pretrained(folder)
        word_tokenizer().save_pretrained(folder)
        booted = TransformerBridge.boot_transformers(folder, device="cpu", dtype=torch.float64)
        if kind == "folded":
            booted.enable_compatibility_mode(disable_warnings=True)
    return booted.eval()


@cache
def converted(case: str, kind: Kind = "booted") -> HookedTransformer:
    """Our model with the bridge's weights."""
    load = HookedTransformer.from_pretrained if kind == "folded" else HookedTransformer.from_pretrained_no_processing
    return load(tiny(case), device="cpu")


@contextmanager
def without_words() -> Iterator[None]:
    """Within the block, TransformerLens' warnings are not errors."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def running() -> Iterator[None]:
    """Within the block, bridges run in float64 throughout, and say nothing."""
    with float64_throughout(), without_words():
        yield
