"""Checkpoints of llama2.c: a header of a few integers, then every weight as float32, in a fixed order.

Source: github.com/karpathy/llama2.c, export.py (versions 0 and 1) and run.c.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError
from .llama2c_tokenizer import read_llama2c_tokenizer
from .source import Source
from .weights import Weights

_MAGIC = 0x616B3432
_ROTARY_BASE, _EPS = 10000.0, 1e-5  # constants of run.c, which no file holds
_COS, _SIN = "cos", "sin"


@dataclass(frozen=True)
class Header:
    """The sizes at the head of a file, and where its numbers begin."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    version: int
    shared: bool
    start: int

    @property
    def head_size(self) -> int:
        """The width of a head."""
        return self.dim // self.n_heads


def read_llama2c(path: str | Path, tokenizer_path: str | Path | None = None) -> Source:
    """The checkpoint in the file, under Hugging Face's names of Llama, and its tokenizer if its file is given.

    llama2.c turns neighbouring coordinates of queries and keys, Hugging Face's Llama the two halves: their rows are
    put in that order, as Hugging Face's converter does. The format has no checksum: a weight that was changed on
    disk is seen only if it is no longer a finite number.

    Raises:
        CheckpointError: no such file, a header or length that is not llama2.c's, 8-bit weights, or rotary tables of
            another base than 10,000.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    header = _header(path)
    shapes = dict(_order(header))
    expected = header.start + 4 * sum(map(prod, shapes.values()))
    if path.stat().st_size != expected:
        raise CheckpointError(
            f"{path} has {path.stat().st_size} bytes; its header asks for {expected}: it is cut off, or no file of "
            "llama2.c's"
        )
    state = _split(np.fromfile(path, "<f4", offset=header.start), shapes)
    _require_rotary_tables(path, header, state)
    tokenizer = None if tokenizer_path is None else read_llama2c_tokenizer(tokenizer_path, header.vocab_size)
    weights = Weights(state, lambda name: _in_halves(name, state[name], header), torch.float32, str(path))
    return Source(_config(header), weights, tokenizer, path.stem, f"the header of {path}")


def _header(path: Path) -> Header:
    with path.open("rb") as file:
        data = file.read(256)
    if len(data) < 28:
        raise CheckpointError(f"{path} has {len(data)} bytes, fewer than the header of a llama2.c file")
    if struct.unpack_from("<I", data)[0] != _MAGIC:
        *sizes, vocab_size, seq_len = struct.unpack_from("<7i", data)
        # The old format says by the sign of the vocabulary whether the embedding is the output matrix too.
        return _checked(path, [*sizes, abs(vocab_size), seq_len], 0, vocab_size > 0, 28)
    version = struct.unpack_from("<i", data, 4)[0] if len(data) == 256 else 0
    if version != 1:
        raise CheckpointError(
            f"{path} is a llama2.c file of version {version}; read are 0 and 1. Version 2 holds 8-bit numbers: export "
            "the model again with --version 1"
        )
    return _checked(path, list(struct.unpack_from("<7i", data, 8)), version, bool(data[36]), 256)


def _checked(path: Path, numbers: list[int], version: int, shared: bool, start: int) -> Header:
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
    sizes = dict(zip(names, numbers, strict=True))
    header = Header(**sizes, version=version, shared=shared, start=start)
    divides = min(sizes.values()) > 0 and not (header.dim % header.n_heads or header.n_heads % header.n_kv_heads)
    if not divides or header.head_size % 2:
        raise CheckpointError(f"{path} is no file of llama2.c's: its header would say {sizes}")
    return header


def _order(header: Header) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of the tensors as they follow one another in the file."""
    dim, kv = header.dim, header.n_kv_heads * header.head_size
    matrices = {"q_proj": (dim, dim), "k_proj": (kv, dim), "v_proj": (kv, dim), "o_proj": (dim, dim)}
    attention = [(f"self_attn.{name}", shape) for name, shape in matrices.items()]
    gate, down, up = (f"mlp.{name}_proj" for name in ("gate", "down", "up"))
    mlp = [(gate, (header.hidden_dim, dim)), (down, (dim, header.hidden_dim)), (up, (header.hidden_dim, dim))]
    first, second = ("input_layernorm", (dim,)), ("post_attention_layernorm", (dim,))
    embedding, last = ("model.embed_tokens.weight", (header.vocab_size, dim)), ("model.norm.weight", (dim,))
    if header.version == 0:
        yield embedding
        yield from _of_layers(header, [first, *attention, second, *mlp])
        yield last
        yield _COS, (header.seq_len, header.head_size // 2)
        yield _SIN, (header.seq_len, header.head_size // 2)
    else:
        yield from _of_layers(header, [first, second])
        yield last
        yield embedding
        yield from _of_layers(header, [*attention, *mlp])
    if not header.shared:
        yield "lm_head.weight", (header.vocab_size, dim)


def _of_layers(header: Header, kinds: list[tuple[str, tuple[int, ...]]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for kind, shape in kinds:
        for layer in range(header.n_layers):
            yield f"model.layers.{layer}.{kind}.weight", shape


def _split(numbers: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    parts = torch.from_numpy(numbers).split([prod(shape) for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _require_rotary_tables(path: Path, header: Header, state: dict[str, Tensor]) -> None:
    if header.version:
        return
    pairs = torch.arange(0, header.head_size, 2) / header.head_size
    angles = torch.arange(header.seq_len)[:, None] / _ROTARY_BASE**pairs
    for name, expected in ((_COS, angles.cos()), (_SIN, angles.sin())):
        difference = (state.pop(name) - expected).abs().max()
        if not difference < 1e-3:
            raise CheckpointError(
                f"{path}: its rotary tables differ from those of the base {_ROTARY_BASE:g} by {difference:.1g}: it is "
                "damaged, or of a variant of llama2.c"
            )


def _in_halves(name: str, weight: Tensor, header: Header) -> Tensor:
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    pairs = weight.view(-1, header.head_size // 2, 2, header.dim)
    return pairs.transpose(1, 2).reshape(weight.shape)


def _config(header: Header) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": header.dim,
        "intermediate_size": header.hidden_dim,
        "num_hidden_layers": header.n_layers,
        "num_attention_heads": header.n_heads,
        "num_key_value_heads": header.n_kv_heads,
        "vocab_size": header.vocab_size,
        "max_position_embeddings": header.seq_len,
        "rms_norm_eps": _EPS,
        "rope_parameters": {"rope_type": "default", "rope_theta": _ROTARY_BASE},
        "tie_word_embeddings": header.shared,
    }
