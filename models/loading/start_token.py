"""Whether a text begins with the tokenizer's start token."""

from dataclasses import replace
from typing import Any

from ..config import HookedTransformerConfig

CHAT_MARK = "<|im_start|>"
"""What opens a turn of a conversation in ChatML, and what SmolLM2-Instruct's files call the start token as well."""


def without_chat_mark(config: HookedTransformerConfig, tokenizer: Any) -> HookedTransformerConfig:
    """The config, with `default_prepend_bos=False` where the start token would open a conversation, not a text.

    A tokenizer that puts it first by itself is left to do so. See docs/decisions/0009.
    """
    if tokenizer.bos_token != CHAT_MARK or config.tokenizer_prepends_bos:
        return config
    return replace(config, default_prepend_bos=False)
