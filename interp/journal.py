"""The folder of a sweep that is under way: each part is written when it is done, so that a stopped sweep goes on."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .digests import tensor_digest
from .errors import JournalError
from .whole_files import write_whole

HEAD = "sweep.json"
Part = Float[Tensor, "metric unit"]


class Journal:
    """What is finished of one sweep. Each file is written under another name first, so that none is ever half there."""

    def __init__(self, folder: Path, cuts: list[list[int]], finished: dict[int, Part]) -> None:
        """A folder that was opened by `journal`.

        Args:
            cuts: the first unit and the end of every part.
            finished: the parts that are there.
        """
        self.folder = folder
        self.cuts = cuts
        self.finished = finished

    def keep(self, number: int, part: Part) -> None:
        """The part is on disk when this returns."""
        content = save({"values": part.contiguous()}, metadata={"sha256": tensor_digest(part), "part": str(number)})
        write_whole(self.folder / _name(number), content)


def journal(folder: Path, identity: Mapping[str, Any], cuts: list[list[int]]) -> Journal:
    """The journal of this sweep in that folder, with what a run before this one finished.

    Args:
        identity: what the sweep is: everything that its numbers depend on.
        cuts: how it would be cut now; parts that are there are cut as they were, so that the numbers stay the same.

    Raises:
        JournalError: the folder holds another sweep, or something else, or a part that cannot be read.
        OSError: the folder cannot be written.
    """
    wanted = json.loads(json.dumps(dict(identity)))
    head = folder / HEAD
    if not head.exists():
        if folder.exists() and any(not one.name.startswith(".") for one in folder.iterdir()):
            raise JournalError(f"{folder} holds files and no {HEAD}, so no sweep can go on there; give an empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(head, json.dumps({"sweep": wanted, "parts": cuts}, indent=1).encode())
        return Journal(folder, cuts, {})
    try:
        read = json.loads(head.read_text())
        there, cuts = read["sweep"], read["parts"]
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError(f"{head} cannot be read as the head of a sweep: {error}") from error
    differing = sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))
    if differing:
        shown = "; ".join(f"{key}: {_short(there.get(key))} there, {_short(wanted.get(key))} now" for key in differing)
        raise JournalError(f"{folder} holds another sweep ({shown}); give another folder, or the same arguments")
    numbers = [number for number in range(len(cuts)) if (folder / _name(number)).exists()]
    return Journal(folder, cuts, {number: _part(folder / _name(number), number) for number in numbers})


def _part(path: Path, number: int) -> Part:
    try:
        with safe_open(path, framework="pt") as file:
            values, told = file.get_tensor("values"), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise JournalError(f"{path} cannot be read: {error}. Delete it, and it is computed anew") from error
    if told.get("part") != str(number):
        raise JournalError(f"{path} holds part {told.get('part')}, not {number}. Delete it, and it is computed anew")
    if told.get("sha256") != tensor_digest(values):
        raise JournalError(f"{path} is not what was written: its digest is another. Delete it, and it is computed anew")
    return values


def _name(number: int) -> str:
    return f"part-{number:05d}.safetensors"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:40]}… ({hashlib.sha256(text.encode()).hexdigest()[:8]})"
