"""GGUF files, the format of llama.cpp: dequantised to float32, with the tokenizer that the file holds."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError
from .gguf_architectures import ARCHITECTURES, Architecture
from .gguf_config import ROTARY_FACTORS, hugging_face_config
from .gguf_file import GgufFile, StoredTensor, open_gguf
from .gguf_tensors import Undo
from .gguf_tokenizer import gguf_tokenizer
from .gguf_types import dequantised
from .source import Source
from .weights import Weights

_NAME = re.compile(r"(?:blk\.(?P<block>\d+)\.)?(?P<stem>\w+)\.(?P<what>weight|bias)")


def read_gguf(path: str | Path, *, with_tokenizer: bool = True) -> Source:
    """The checkpoint in the file, under Hugging Face's names, its weights unpacked to float32 one at a time.

    What llama.cpp's converter changes is undone: the order of the rows of Llama's queries and keys, the one that it
    adds to Gemma's norms, GPT-2's transposed matrices. A file without an output matrix has a tied one. The format
    has no checksum: a weight that was changed on disk is seen only if it is no longer a finite number.

    Args:
        with_tokenizer: whether the file's tokenizer is read too; one that we cannot build is an error.

    Raises:
        CheckpointError: not a GGUF file, one that is cut off or contradicts itself, an architecture, option or
            tokenizer that is not read here, or the package `gguf` is missing.

    Source: the GGUF specification (docs/gguf.md of the ggml project); convert_hf_to_gguf.py of llama.cpp.
    """
    file = open_gguf(path)
    architecture = _architecture(file)
    config = hugging_face_config(file, architecture)
    tokenizer = gguf_tokenizer(file) if with_tokenizer else None
    name = file.fields.get("general.name")
    return Source(
        config,
        _weights(file, architecture, config),
        tokenizer,
        str(name or file.path.stem),
        f"the metadata of {file.path}, in Hugging Face's terms",
        _ends(file),
    )


def _ends(file: GgufFile) -> tuple[int, ...]:
    # The end of a text, and the end of a turn where that is another token.
    named = (file.fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot"))
    return tuple(dict.fromkeys(number for number in named if number is not None))


def _architecture(file: GgufFile) -> Architecture:
    fields = file.fields
    if fields.get("general.type", "model") != "model":
        raise CheckpointError(f"{file.path} holds a {fields['general.type']!r}, not a whole model")
    if fields.get("split.count", 1) != 1:
        raise CheckpointError(
            f"{file.path} is one of {fields['split.count']} parts of a model; join them with llama.cpp's gguf-split"
        )
    name = fields.get("general.architecture")
    if name not in ARCHITECTURES:
        raise CheckpointError(
            f"{file.path} has the architecture {name!r}; read are {', '.join(ARCHITECTURES)}. Others: load the model's "
            "Hugging Face folder as transformer_lens' TransformerBridge, which interp runs with engine='hooks'"
        )
    return ARCHITECTURES[name]


def _weights(file: GgufFile, architecture: Architecture, config: Mapping[str, Any]) -> Weights:
    stored: dict[str, tuple[StoredTensor, Undo | None]] = {}
    for tensor in file.tensors.values():
        if tensor.name != ROTARY_FACTORS:
            name, undo = _as_hugging_face(architecture, tensor.name)
            stored[name] = (tensor, undo)
    return Weights(stored, partial(_read, file, config, stored), torch.float32, str(file.path))


def _as_hugging_face(architecture: Architecture, name: str) -> tuple[str, Undo | None]:
    match = _NAME.fullmatch(name)
    names = architecture.outside if match is None or match["block"] is None else architecture.inside
    if match is None or match["stem"] not in names:
        # Under its own name nobody asks for it, and the error about what is left over says so.
        return name, None
    stem, what = match["stem"], match["what"]
    place = "" if match["block"] is None else f"{architecture.blocks}.{match['block']}."
    undo = architecture.undo.get(stem)
    if stem.endswith("_norm"):
        undo = architecture.undo.get("norm")
    return f"{place}{names[stem]}.{what}", undo


def _read(
    file: GgufFile, config: Mapping[str, Any], stored: Mapping[str, tuple[StoredTensor, Undo | None]], name: str
) -> Tensor:
    tensor, undo = stored[name]
    what = f"{file.path}: the tensor {tensor.name!r}"
    part = np.frombuffer(file.data, np.uint8, tensor.end - tensor.start, tensor.start)
    numbers = torch.from_numpy(dequantised(part, tensor.kind, tensor.shape, what))
    file.let_go(tensor)
    try:
        return numbers if undo is None else undo(numbers, config)
    except CheckpointError as error:
        raise CheckpointError(f"{what}: {error}") from error
