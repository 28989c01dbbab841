"""The training text that everybody has: the sources and docstrings of the Python standard library.

Free to redistribute (PSF licence), a mixture of code and English, and on every machine that runs this package. Another
version of Python has another standard library, so a corpus is known by its SHA-256.
"""

import ast
import hashlib
import platform
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .errors import CorpusError

HELD_OUT_SHARE = 0.08
"""The expected share of documents that are never trained on."""

_PASSAGE_LINES = 6

# Not prose and not code somebody wrote: tables, generated files, what differs between platforms, other people's work,
# and the tests, whose hostile inputs are on purpose.
_LEFT_OUT = {
    "site-packages", "test", "tests", "idle_test", "idlelib", "encodings", "lib2to3", "pydoc_data", "__pycache__",
    "__phello__", "msilib", "turtledemo", "entities.py", "locale.py", "stringprep.py", "this.py",
}  # fmt: skip
_LEFT_OUT_PREFIXES = ("config-", "_sysconfigdata")


@dataclass(frozen=True)
class Document:
    """One text with its name: a path below the standard library, or `pydoc_data/topics.py#topic`."""

    name: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order, split by a hash of their names: no file is in both parts."""

    source: str
    train: tuple[Document, ...]
    held_out: tuple[Document, ...]

    @cached_property
    def sha256(self) -> str:
        """The hash of every name and text, in order: equal hashes, equal corpora."""
        digest = hashlib.sha256()
        for part in (self.train, self.held_out):
            for document in part:
                digest.update(f"{document.name}\0{document.text}\0".encode())
            digest.update(b"\1")
        return digest.hexdigest()


def standard_library(folder: Path | None = None) -> Corpus:
    """The sources of the standard library of the running Python, and the topics of its `help()`.

    Left out: tests, generated tables, what depends on the platform, and installed packages.

    Raises:
        CorpusError: the folder holds no sources (some distributions of Python ship byte-code only).
    """
    folder = Path(folder or sysconfig.get_paths()["stdlib"])
    documents = [
        Document(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8"))
        for path in folder.rglob("*.py")
        if _wanted(path.relative_to(folder))
    ]
    documents = sorted(
        (document for document in documents if document.text.strip()), key=lambda document: document.name
    )
    documents += _help_topics(folder / "pydoc_data" / "topics.py")
    if not documents:
        raise CorpusError(f"{folder} holds no Python sources; give the folder of a standard library that has them")
    held_out = tuple(document for document in documents if is_held_out(document.name))
    train = tuple(document for document in documents if not is_held_out(document.name))
    return Corpus(f"Python {platform.python_version()} standard library", train, held_out)


def is_held_out(name: str) -> bool:
    """Whether the document is kept for evaluation, by the first 32 bits of its name's SHA-256."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < HELD_OUT_SHARE * 2**32


def repeated_share(corpus: Corpus) -> float:
    """The share of held-out passages of six lines that stand word for word in the training text.

    Modules copy from one another; this says how much of the held-out text is none.
    """
    known = {passage for document in corpus.train for passage in _passages(document.text, step=1)}
    held_out = [passage for document in corpus.held_out for passage in _passages(document.text, _PASSAGE_LINES)]
    return sum(passage in known for passage in held_out) / len(held_out) if held_out else 0.0


def _passages(text: str, step: int) -> list[tuple[str, ...]]:
    lines = [line for line in text.splitlines() if line.strip()]
    starts = range(0, len(lines) - _PASSAGE_LINES + 1, step)
    return [tuple(lines[start : start + _PASSAGE_LINES]) for start in starts]


def _wanted(path: Path) -> bool:
    return not any(part in _LEFT_OUT or part.startswith(_LEFT_OUT_PREFIXES) for part in path.parts)


def _help_topics(path: Path) -> list[Document]:
    # The language reference as text, stored as one dictionary literal: read, never executed.
    if not path.is_file():
        return []
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(statement.value, ast.Dict):
            topics = ast.literal_eval(statement.value)
            named = {f"pydoc_data/topics.py#{topic}": topics[topic] for topic in sorted(topics)}
            # Topics quote one another at length: one that is held out would be no test, and is left out altogether.
            return [Document(name, text) for name, text in named.items() if not is_held_out(name)]
    raise CorpusError(f"{path} does not assign a dictionary of topics")
