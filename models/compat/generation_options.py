"""What notebooks hand to `generate` beside what it does: said, or refused with what to write instead."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..warned import warned

KINDS = ("input", "str", "tokens", "embeds")


def require_tokens_or_text(input: Any, kind: str) -> None:
    """Nothing, if it can be continued here, and the output is of a kind that there is.

    Raises:
        InputError: embeddings, or a kind of output that is none of TransformerLens'.
    """
    if kind not in KINDS:
        raise InputError(f"return_type must be {', '.join(map(repr, KINDS[:-1]))} or {KINDS[-1]!r}, not {kind!r}")
    if isinstance(input, Tensor) and input.ndim == 3:
        raise InputError(
            "generate continues text and tokens, not embeddings. For one new token after a stream, take "
            "model(stream, start_at_layer=0)[:, -1].argmax(-1), and append the stream of this token (input_to_embed)"
        )


def hear_other_options(others: Mapping[str, Any], known: Iterable[str]) -> None:
    """A warning of what has no effect, as in TransformerLens.

    Args:
        others: options of `transformers`' generation.
        known: the arguments that there are, for what is misspelt.

    Raises:
        InputError: an option that TransformerLens heard and that is not there, or a misspelt one.
    """
    for name in others:
        nearest = get_close_matches(name, list(known), n=1, cutoff=0.8)
        if nearest:
            raise InputError(f"generate takes no {name}. Did you mean {nearest[0]!r}?")
    if others.get("output_logits"):
        raise InputError(
            "output_logits=True is not covered by models.compat; run the model on what is generated: "
            "tokens = model.generate(..., return_type='tokens'), and model(tokens)[:, n - 1 : -1] are the logits of "
            "the tokens behind the first n"
        )
    without_effect = [name for name in others if name != "output_logits"]
    if without_effect:
        warned(f"{', '.join(without_effect)}: without effect on generate, as in TransformerLens")
