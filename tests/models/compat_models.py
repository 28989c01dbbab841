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


SCRIPTS = {
    "indirect_objects": stories,
    "attribution_patching": stories,
    "induction": code,
    "head_detection": code,
    "first_look": code,
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
