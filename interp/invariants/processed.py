"""TransformerLens' own processing of a bridge: folding and centring, which must leave the log-probabilities."""

from copy import deepcopy
from typing import Any

from jaxtyping import Int
from torch import Tensor

from .reading import deviation


def log_probs_off_when_processed(bridge: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the log-probabilities in a copy whose norms are folded and whose weights are centred."""
    copy = deepcopy(bridge)
    copy.enable_compatibility_mode(disable_warnings=True)
    return deviation(copy(tokens).double().log_softmax(dim=-1), bridge(tokens).double().log_softmax(dim=-1))


def is_processed(bridge: Any) -> str | None:
    """The obstacle of a bridge whose weights have been processed."""
    return "its weights have been processed already" if getattr(bridge, "compatibility_mode", False) else None
