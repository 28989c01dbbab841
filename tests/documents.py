"""The code blocks of the documents, and how they are run."""

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from analyses.cli import cli
from analyses.model_source import PACKAGED as PACKAGED_NAMES

ROOT = Path(__file__).parents[1]
PACKAGED = set(PACKAGED_NAMES)
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: Path) -> list[tuple[str, str]]:
    """The fenced blocks in order: the language and the text."""
    return re.findall(r"^```([^`\n]*)\n(.*?)^```$", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def run_blocks(document: Path) -> dict[str, Any]:
    """The names that the Python blocks leave behind; all blocks are run in order, in the present folder.

    A Python block that begins with a file's name (`# test_my_model.py`) is saved under it, for the commands.
    """
    namespace: dict[str, Any] = {}
    for language, text in blocks(document):
        if language == "console":
            for command in commands(text):
                run_command(command)
        elif language == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            if name:
                Path(name[1]).write_text(text)
            with redirect_stdout(io.StringIO()):
                exec(compile(text, str(document), "exec"), namespace)
    return namespace


def commands(text: str) -> list[str]:
    """The commands of a console block; other lines are what they print."""
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


def run_command(command: str) -> None:
    """The command, run in the present folder; it must end with 0, or with the `# exit code` written behind it."""
    words = shlex.split(command, comments=True)
    written = re.search(r"# exit code (\d+)", command)
    match words[0]:
        case "make":
            # Building an environment or running these very tests again would take minutes.
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), command
        case "interp" if PACKAGED & set(words):
            # These models are not there when these tests run; `make test-real` runs such commands.
            assert parsed(["stdlib-2l" if word in PACKAGED else word for word in words[1:]])
        case "interp" if words[1] == "train" or (words[1] in ("report", "check") and "--only" not in words):
            # A training takes minutes, and the tests of both others run all there is: here the parser takes the words.
            assert parsed(words[1:])
        case "interp":
            ended = CliRunner().invoke(cli, words[1:], prog_name="interp")
            assert ended.exit_code == (int(written[1]) if written else 0), f"{command}\n{ended.output}"
        case "pytest":
            subprocess.run([sys.executable, "-m", *words, "-p", "no:cacheprovider"], check=True, capture_output=True)
        case unknown:
            pytest.fail(f"nobody runs {unknown!r} here: {command}")


def parsed(words: list[str]) -> dict[str, Any]:
    """The parameters of the subcommand, which is not run.

    Raises:
        click.UsageError: it does not take these words.
    """
    program = cli.make_context("interp", list(words))
    name, subcommand, rest = cli.resolve_command(program, [*program._protected_args, *program.args])
    assert subcommand is not None
    return subcommand.make_context(name, rest, parent=program).params
