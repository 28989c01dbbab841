"""What the numbers of two runs came from, as JSON can hold it."""

from importlib.metadata import version
from typing import Any

from .digests import described, tensor_digest, weights_digest
from .two_runs import TwoRuns


def run_record(runs: TwoRuns) -> dict[str, Any]:
    """Digests of model and prompts, what was measured, in which dtype, on which device, with which versions."""
    return {
        "weights": weights_digest(runs.model),
        "config": described(runs.model.cfg),
        "clean": tensor_digest(runs.clean),
        "corrupted": tensor_digest(runs.corrupted),
        "direction": runs.direction,
        "metrics": described(runs.metrics),
        "dtype": str(runs.logits.dtype).removeprefix("torch."),
        "device": runs.logits.device.type,
        "versions": {name: version(name) for name in ("interp", "torch")},
    }
