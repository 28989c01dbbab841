"""Names for tokens and hook points as a reader sees them."""

from typing import Any

from torch import Tensor

from .token_text import visible


def token_labels(model: Any, ids: Tensor) -> list[str]:
    """The text of each token, with nothing in it that hides; its number where there is no tokenizer."""
    numbers = [int(token) for token in ids.reshape(-1)]
    if getattr(model, "tokenizer", None) is None:
        return [str(number) for number in numbers]
    texts = model.tokenizer.batch_decode([[number] for number in numbers], clean_up_tokenization_spaces=False)
    return [visible(text) for text in texts]


def stream_label(name: str) -> str:
    """`blocks.2.hook_resid_mid` as "2 mid": the stream of block 2 between attention and MLP."""
    _, layer, point = name.split(".")
    place = point.removeprefix("hook_resid_")
    return "embedding" if (layer, place) == ("0", "pre") else f"{layer} {place}"


def head_label(layer: int, head: int) -> str:
    """The head's name, "L0H3": both counted from 0."""
    return f"L{layer}H{head}"
