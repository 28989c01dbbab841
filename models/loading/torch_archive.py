"""The zip archive that `torch.save` writes, held against the checksums in it, which PyTorch does not look at."""

import lzma
import struct
import zipfile
import zlib
from pathlib import Path

from ..errors import CheckpointError

_MAGIC = b"PK\x03\x04"
_AT_ONCE = 2**20
_CODE = "constants.pkl"
"""A member of every TorchScript archive, and of no other."""

# What Python's reader raises where a header, a method of compression or a checksum is not as it was.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, RuntimeError, ValueError)


def is_archive(path: Path) -> bool:
    """Whether PyTorch would read the file as a zip archive; files of before version 1.6 are none."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def require_sound(path: Path) -> None:
    """Nothing, if every member of the archive has its checksum; one saved without checksums is let through.

    The archive is read once, a piece at a time.

    Raises:
        CheckpointError: a member that was changed, or an archive that is cut off, or one of TorchScript's.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path} is damaged or cut off: it begins as the archives of torch.save do, and its directory, which ends "
            "them, cannot be read"
        ) from error
    with archive:
        members = archive.infolist()
        if any(member.filename.rsplit("/", 1)[-1] == _CODE for member in members):
            raise CheckpointError(
                f"{path} is a TorchScript archive: code with the numbers, and none of it was executed; save the "
                "numbers alone, torch.save(model.state_dict(), path)"
            )
        # torch.serialization.set_crc32_options(False) leaves zeros in place of all of them.
        for member in members if any(member.CRC for member in members) else ():
            _require_intact(path, archive, member)


def _require_intact(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    try:
        with archive.open(member) as content:
            while content.read(_AT_ONCE):  # the checksum is compared at the end
                pass
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path} is damaged: its member {member.filename!r} is not as torch.save wrote it; copy or download the "
            "file again"
        ) from error
