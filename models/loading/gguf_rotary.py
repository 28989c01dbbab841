"""How a GGUF file says that rotary positions are stretched: by one factor, or by one for each frequency."""

import math
from typing import Any

import numpy as np

from ..errors import CheckpointError
from .gguf_file import GgufFile
from .gguf_metadata import Metadata
from .gguf_types import dequantised

ROTARY_FACTORS = "rope_freqs.weight"
"""The tensor that divides each frequency; llama.cpp computes it from Llama 3's rule and leaves the rule out."""

# The rule's other numbers, which are the same in Llama 3.1, 3.2 and 3.3.
_LOW, _HIGH, _TRAINED = 1.0, 4.0, 8192
_TOLERANCE = 1e-4


def rotary_scaling(file: GgufFile, metadata: Metadata, d_head: int, base: float) -> dict[str, Any] | None:
    """Hugging Face's `rope_scaling`, or None where nothing is stretched.

    Raises:
        CheckpointError: a way of stretching that is not read, or factors that are not Llama 3's.
    """
    kind = metadata.get("rope.scaling.type") or "none"
    if kind not in ("none", "linear"):
        raise metadata.refused("rope.scaling.type", kind)
    factor = metadata.positive("rope.scaling.factor", 1.0)
    # Files of before August 2023 have the factor's name alone.
    factor *= metadata.positive("rope.scale_linear", 1.0)
    if ROTARY_FACTORS in file.tensors:
        if factor != 1.0:
            raise metadata.refused("rope.scaling.factor", factor)
        return _llama3(file, d_head, base)
    return None if factor == 1.0 else {"rope_type": "linear", "factor": factor}


def _llama3(file: GgufFile, d_head: int, base: float) -> dict[str, Any] | None:
    tensor = file.tensors[ROTARY_FACTORS]
    what = f"{file.path}: the tensor {ROTARY_FACTORS!r}"
    stored = np.frombuffer(file.data, np.uint8, tensor.end - tensor.start, tensor.start)
    factors = dequantised(stored, tensor.kind, tensor.shape, what).astype(np.float64)
    # Six digits: the stored number went through float32.
    factor = float(f"{factors.max():.6g}")
    expected = _factors(d_head, base, factor)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=_TOLERANCE, atol=0):
        raise CheckpointError(
            f"{what} does not stretch frequencies as Llama 3 does (by {factor:g} below 1/{_TRAINED} and by 1 above "
            f"{_HIGH:g}/{_TRAINED} turns a token), which is the only such rule that is read here"
        )
    if factor == 1.0:
        return None
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": _LOW,
        "high_freq_factor": _HIGH,
        "original_max_position_embeddings": _TRAINED,
    }


def _factors(d_head: int, base: float, factor: float) -> np.ndarray:
    """Llama 3's divisor of each frequency. Source: Dubey et al. (2024); `transformers`' rope_type "llama3"."""
    turns = base ** (-np.arange(0, d_head, 2) / d_head) / (2 * math.pi) * _TRAINED
    kept = np.clip((turns - _LOW) / (_HIGH - _LOW), 0, 1)
    return 1 / (kept + (1 - kept) / factor)
