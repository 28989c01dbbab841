"""The models that the scripts of `compat_scripts` run on, and what a script returns as plain arrays and texts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from models.compat import HookedTransformer
from tests.conftest import order_one, small_config

WORDS = ["<s>", "</s>", "<pad>", "then", "mary", "john", "anna", "tom", "and", "went", "to", "the", "park", ".", "gave"]
WORDS += ["a", "ball"]


def story_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word of the prompts of `indirect_objects`."""
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def stories() -> HookedTransformer:
    """Random weights of order one, the norms folded, and a tokenizer of the seventeen words."""
    config = small_config(normalization_type="LNPre", n_ctx=16, n_layers=3, d_vocab=len(WORDS))
    return order_one(HookedTransformer(config, story_tokenizer()))


def code() -> HookedTransformer:
    """The bundled model of two layers that has induction heads, in float64."""
    return HookedTransformer.from_pretrained("stdlib-2l", device="cpu", dtype="float64")


def classifier() -> HookedTransformer:
    """Random weights of order one, reading both ways, with two outputs."""
    config = small_config(attention_dir="bidirectional", d_vocab=5, d_vocab_out=2, use_attn_result=True,
                          use_hook_tokens=True)  # fmt: skip
    return order_one(HookedTransformer(config, bracket_tokenizer()))


def bracket_tokenizer() -> PreTrainedTokenizerFast:
    """Of no use to the script, which writes its tokens down; TransformerLens 3.9 needs one to be loaded."""
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(["<e>", "<p>", "<b>", "(", ")"])}))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<b>", eos_token="<e>", pad_token="<p>")


def addition() -> HookedTransformer:
    """Random weights of order one for the sums of two numbers below seven, without norms."""
    config = small_config(n_layers=1, normalization_type=None, act_fn="relu", d_vocab=8, n_ctx=3)
    return order_one(HookedTransformer(config, bracket_tokenizer()))


SCRIPTS = {
    "indirect_objects": stories,
    "attribution_patching": stories,
    "induction": code,
    "head_detection": code,
    "first_look": code,
    "brackets": classifier,
    "grokking": addition,
}
"""Each script, and the model it runs on."""


def flattened(result: Any, name: str = "") -> Iterator[tuple[str, np.ndarray | str]]:
    """The numbers (as float64) and texts of a script's result, each with the way to it."""
    if isinstance(result, dict):
        for key, value in result.items():
            yield from flattened(value, f"{name}/{key}")
    elif isinstance(result, str):
        yield name, result
    elif isinstance(result, (list, tuple)):
        for index, value in enumerate(result):
            yield from flattened(value, f"{name}/{index}")
    else:
        yield name, torch.as_tensor(result).detach().cpu().double().numpy()
