"""A model as TransformerLens 4 runs it: a `TransformerBridge` around the `transformers` model."""

import warnings
from pathlib import Path
from typing import Any

import torch

from .errors import BadFileError
from .foreign_words import without_foreign_words
from .transformers_model import arguments_for, first_line, transformers_model


def booted(path: Path) -> Any:
    """The model of a folder or a GGUF file as a bridge, in float32 and evaluation mode; nothing is folded.

    In float32, because `transformers` computes norms, patterns and angles in it whatever the weights are.

    Raises:
        BadFileError: nothing that `transformers` reads, or what TransformerLens cannot boot.
    """
    given: Any = arguments_for(path)
    if given is None:
        raise BadFileError(
            f"--bridge runs a GGUF file, or a folder or hub name of Hugging Face's, and {str(path)!r} holds no "
            "config.json with a model_type; leave --bridge out"
        )
    from transformer_lens.model_bridge import TransformerBridge  # takes seconds to import
    from transformers import AutoTokenizer

    # Given the model, it does not load one of its own, in which missing weights would be drawn at random.
    ready = {"hf_model": transformers_model(path, torch.float32)}
    try:
        with without_foreign_words():
            if "gguf_file" in given:  # of which TransformerLens knows nothing
                ready["tokenizer"] = AutoTokenizer.from_pretrained(**given)
            bridge: Any = TransformerBridge.boot_transformers(str(path), device="cpu", dtype=torch.float32, **ready)
    except Exception as error:  # errors of several packages
        raise BadFileError(f"TransformerLens cannot boot {str(path)!r}: {first_line(error)}") from error
    # What it warns of, edits that are thrown away among them, is an error here or a note of a check.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"transformer_lens\.")
    return bridge.eval()
