"""Observations as files: one flat array of numbers and one index, which compresses better than many small arrays."""

import json
from pathlib import Path

import numpy as np

from .observations import Observations

RECORDED = Path(__file__).parent / "recorded"
SAVED_BY_THEM = ("layer_norm", "llama")
"""Configurations whose state dict TransformerLens saves too, with the buffers that it leaves among the weights."""


def write(seen: Observations, path: Path) -> None:
    """The file that `read` reads."""
    index = {"shapes": [[name, values.shape] for name, values in seen.arrays.items()], "firing": seen.firing}
    # Much of what is observed is equal to something else that is (a cached run's logits): stored once.
    flat, places, known = [], [], {}
    for values in seen.arrays.values():
        content = values.tobytes()
        if content not in known:
            known[content] = sum(part.size for part in flat)
            flat.append(values.reshape(-1))
        places.append(known[content])
    text = np.frombuffer(json.dumps({**index, "places": places}).encode(), dtype=np.uint8)
    np.savez_compressed(path, index=text, values=np.concatenate(flat))


def read(path: Path) -> Observations:
    """What `write` wrote."""
    with np.load(path) as file:
        index, values = json.loads(file["index"].tobytes()), file["values"]
    arrays = {}
    for (name, shape), place in zip(index["shapes"], index["places"], strict=True):
        arrays[name] = values[place : place + int(np.prod(shape))].reshape(shape)
    return Observations(arrays, index["firing"])
