"""TransformerLens' own processing of a bridge: folding and centring, which must leave the log-probabilities."""

from copy import deepcopy
from typing import Any

from jaxtyping import Int
from torch import Tensor

from ..bridge_points import is_bridge
from .invariant import Invariant
from .reading import deviation


def log_probs_off_when_processed(bridge: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The change of the log-probabilities in a copy whose norms are folded and whose weights are centred."""
    copy = deepcopy(bridge)
    copy.enable_compatibility_mode(disable_warnings=True)
    return deviation(copy(tokens).double().log_softmax(dim=-1), bridge(tokens).double().log_softmax(dim=-1))


def cannot_be_processed(model: Any) -> str | None:
    """The obstacle of models that are no bridges, and of bridges that have been processed."""
    if not is_bridge(model):
        return "it is no TransformerBridge; what is folded here is checked one by one"
    if getattr(model, "compatibility_mode", False):
        return "its weights have been processed already"
    return None


INVARIANTS = (
    Invariant(
        "bridge-folding", "a bridge whose weights TransformerLens processes keeps its log-probabilities",
        log_probs_off_when_processed, obstacle=cannot_be_processed,
    ),
)  # fmt: skip
