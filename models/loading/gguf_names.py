"""Metadata fields whose names are not quite those that are read: a changed bit in a name would leave a default."""

from collections.abc import Iterator

from ..errors import CheckpointError
from .gguf_file import GgufFile

_NAMESPACES = ("general", "tokenizer", "split", "quantize", "imatrix", "adapter", "clip", "training")
"""Beginnings of names that say nothing of an architecture."""

_READ = (
    "general.alignment", "general.type", "general.name", "split.count", "tokenizer.chat_template",
    *(f"tokenizer.ggml.{name}" for name in (
        "model", "pre", "tokens", "token_type", "scores", "merges", "add_bos_token", "add_eos_token",
        "add_space_prefix", "bos_token_id", "eos_token_id", "eot_token_id", "unknown_token_id", "padding_token_id",
    )),
)  # fmt: skip
"""What is read of every file, whatever its architecture."""

# Of files of before August 2023; the package has forgotten it.
_OLD = ("rope.scale_linear",)


def require_own_names(file: GgufFile) -> None:
    """Nothing, if each field of an architecture bears the name of the file's, and no name is one bit from one read.

    Raises:
        CheckpointError: a field that would be passed over, and its name without the damage.
    """
    architecture = file.fields["general.architecture"]
    known = {*_architecture_fields(), *_OLD}
    read = {*_READ, *(f"{architecture}.{field}" for field in known)}
    for name in file.fields.keys() - read:
        prefix, _, field = name.partition(".")
        if prefix not in (architecture, *_NAMESPACES) and field in known:
            raise _damaged(file, name, f"{architecture}.{field}")
        for meant in read - file.fields.keys():
            if _differ_by_a_bit(name, meant):
                raise _damaged(file, name, meant)


def _architecture_fields() -> Iterator[str]:
    import gguf  # optional, but no file comes this far without it

    for group in vars(gguf.Keys).values():
        for name in vars(group).values() if isinstance(group, type) else ():
            if isinstance(name, str) and name.startswith("{arch}."):
                yield name.removeprefix("{arch}.")


def _differ_by_a_bit(one: str, other: str) -> bool:
    first, second = one.encode(), other.encode()
    if len(first) != len(second):
        return False
    return sum((a ^ b).bit_count() for a, b in zip(first, second, strict=True)) == 1


def _damaged(file: GgufFile, name: str, meant: str) -> CheckpointError:
    return CheckpointError(
        f"{file.path} has the metadata field {name!r}, which would not be read; {meant!r} would be: the file is "
        "damaged, or was put together out of two"
    )
