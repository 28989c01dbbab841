"""Checkpoints of nanoGPT: `ckpt.pt`, with GPT-2's names and PyTorch's `[out, in]` matrices.

Source: github.com/karpathy/nanoGPT, model.py and train.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import CheckpointError
from .pickle import described, is_state_dict, load_content
from .source import Source
from .weights import Weights

_COMPILED = "_orig_mod."
_SIZES = {
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
    "block_size": "n_positions",
    "vocab_size": "vocab_size",
}
"""nanoGPT's names of the sizes, and GPT-2's."""

_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def read_nanogpt(path: str | Path, tokenizer: Any = None, act_fn: Literal["gelu", "gelu_new"] | None = None) -> Source:
    """The checkpoint that nanoGPT's `train.py` wrote, under Hugging Face's names of GPT-2.

    A model trained with `bias=False` has biases of zero. The file names no tokenizer: most are trained with GPT-2's,
    and those on characters keep theirs in a pickled `meta.pkl`, which is not read.

    Args:
        act_fn: "gelu_new" for models of nanoGPT before its version with `torch.nn.GELU`, of June 14, 2023. The
            default is that where model_args have no 'bias', which makes the file older still, and "gelu" elsewhere:
            the files of the months between do not say which they have.

    Raises:
        CheckpointError: no such file, code in it, no checkpoint of nanoGPT's, or an option of a variant of it.
    """
    return nanogpt_source(path, load_content(path), tokenizer, act_fn)


def is_nanogpt(content: Any) -> bool:
    """Whether the content of a file is laid out as nanoGPT's checkpoints are."""
    return isinstance(content, dict) and {"model", "model_args"} <= content.keys()


def nanogpt_source(
    path: str | Path, content: Any, tokenizer: Any = None, act_fn: Literal["gelu", "gelu_new"] | None = None
) -> Source:
    """As `read_nanogpt`, of a file whose content has been read.

    Raises:
        CheckpointError: no checkpoint of nanoGPT's, or an option of a variant of it.
    """
    args, state = (content.get(name) if isinstance(content, dict) else None for name in ("model_args", "model"))
    if not isinstance(args, dict) or not is_state_dict(state) or not state:
        raise CheckpointError(
            f"{path} holds {described(content)}; a checkpoint of nanoGPT has 'model', its named tensors, and "
            "'model_args', the sizes"
        )
    sizes = _sizes(path, args)
    state = {name.removeprefix(_COMPILED): value for name, value in state.items()}
    if not args.get("bias", True):
        state |= _zero_biases(path, state, sizes)
    config = {
        **sizes,
        "model_type": "gpt2",
        "layer_norm_epsilon": 1e-5,
        "activation_function": act_fn or ("gelu" if "bias" in args else "gelu_new"),
        "tie_word_embeddings": _is_tied(state),
        # GPT-2's own are beyond most vocabularies, and the file names none.
        "bos_token_id": None,
        "eos_token_id": None,
    }
    dtype = max(state.values(), key=Tensor.numel).dtype
    weights = Weights(state, lambda name: _as_gpt2(name, state[name]), dtype, str(path))
    return Source(config, weights, tokenizer, "nanogpt", f"the model_args of {path}")


def _sizes(path: str | Path, args: Mapping[str, Any]) -> dict[str, int]:
    unknown = [name for name, value in args.items() if name not in (*_SIZES, "bias", "dropout") and value]
    if unknown:
        raise CheckpointError(
            f"{path}: model_args has {', '.join(map(str, unknown))}, which nanoGPT does not know: the file is of a "
            "variant that computes something else"
        )
    wrong = [name for name in _SIZES if not isinstance(args.get(name), int) or args[name] < 1]
    if wrong:
        raise CheckpointError(f"{path}: model_args must give {', '.join(wrong)} as positive numbers")
    return {theirs: args[ours] for ours, theirs in _SIZES.items()}


def _zero_biases(path: str | Path, state: Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    width = sizes["n_embd"]
    in_block = {"ln_1": width, "ln_2": width, "attn.c_attn": 3 * width, "attn.c_proj": width}
    in_block |= {"mlp.c_fc": 4 * width, "mlp.c_proj": width}
    lengths = {"transformer.ln_f.bias": width}
    for layer in range(sizes["n_layer"]):
        lengths |= {f"transformer.h.{layer}.{name}.bias": length for name, length in in_block.items()}
    stored = sorted(lengths.keys() & state.keys())
    if stored:
        raise CheckpointError(f"{path} holds {stored[0]}, and its model_args say bias=False")
    return {name: torch.zeros(length) for name, length in lengths.items()}


def _is_tied(state: Mapping[str, Tensor]) -> bool:
    head, embedding = state.get("lm_head.weight"), state.get("transformer.wte.weight")
    return head is None or (embedding is not None and torch.equal(head, embedding))


def _as_gpt2(name: str, value: Tensor) -> Tensor:
    return value.T if name.endswith(_TRANSPOSED) else value
