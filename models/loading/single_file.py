"""A file that is a whole model by itself, told by what stands in it."""

from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .gguf import read_gguf
from .llama2c import read_llama2c
from .nanogpt import is_nanogpt, nanogpt_source
from .pickle import described, load_content
from .saved import Saved
from .source import Source
from .tl_checkpoint import holds_tl_weights, tl_saved

_GGUF, _ZIP, _LLAMA2C = b"GGUF", b"PK\x03\x04", b"24ka"
_PICKLE, _PROTOCOLS = 0x80, range(2, 6)
_TORCH_NAMES = (".pt", ".pth", ".ckpt")
_READ = (
    "Read by themselves are GGUF files; PyTorch's files of nanoGPT ('model' and 'model_args') and of TransformerLens "
    "(named tensors, 'embed.W_E' among them, alone or under 'model', 'state_dict' or 'model_state_dict'); and the "
    ".bin of llama2.c. Weights with their config beside them are read as a folder: config.json and *.safetensors"
)


def read_file(path: Path) -> Source | Saved:
    """The checkpoint in the file, if it needs nothing else; a tokenizer only where the file holds it.

    Raises:
        CheckpointError: a file that is damaged, that is not recognised, or that does not say all of the model's
            config: what stands in it, and what to do.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if path.suffix.lower() == ".gguf" or head == _GGUF:
        return read_gguf(path)
    if _is_pytorchs(path, head):
        return _of_pytorch(path, load_content(path))
    if path.suffix.lower() == ".bin" or head == _LLAMA2C:
        return read_llama2c(path)
    raise CheckpointError(f"{path} is a file that begins with {head!r}, by which no model is known. {_READ}")


def _is_pytorchs(path: Path, head: bytes) -> bool:
    if path.suffix.lower() in _TORCH_NAMES or head == _ZIP:
        return True
    # A .bin of llama2.c may begin with the bytes of a pickle, as the lower half of a width below 65,536.
    return len(head) == 4 and head[0] == _PICKLE and head[1] in _PROTOCOLS and head[2:] != b"\0\0"


def _of_pytorch(path: Path, content: Any) -> Source | Saved:
    if holds_tl_weights(content):
        return tl_saved(path, content)
    if is_nanogpt(content):
        return nanogpt_source(path, content)
    raise CheckpointError(f"{path} holds {described(content)}, by which no model is known. {_READ}")
