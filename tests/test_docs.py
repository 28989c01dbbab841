"""Every code block of the documents runs, and every command named there exists."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from analyses.cli import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d, "python")], ids=lambda d: d.name)
def test_python_blocks_run_one_after_another(document, capsys):
    namespace: dict[str, object] = {}
    for block in blocks(document, "python"):
        exec(compile(block, str(document), "exec"), namespace)
    assert namespace


def commands() -> list[str]:
    """The commands of all console blocks."""
    lines = [line for document in DOCUMENTS for block in blocks(document, "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.mark.parametrize("command", sorted({c for c in commands() if c.startswith("make ")}))
def test_make_targets_exist(command):
    target = command.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("command", sorted({c for c in commands() if c.startswith("interp ")}))
def test_command_lines_are_understood(command):
    words = shlex.split(command)[1:]
    if words == ["--help"]:
        assert CliRunner().invoke(cli, words, prog_name="interp").exit_code == 0
        return
    # The subcommand's own parser must take the words; running each would take minutes.
    program = cli.make_context("interp", list(words))
    name, subcommand, rest = cli.resolve_command(program, [*program._protected_args, *program.args])
    assert subcommand.make_context(name, rest, parent=program).params


def test_a_wrong_command_line_would_be_seen():
    program = cli.make_context("interp", ["logit-lens", "--jsn"])
    name, subcommand, rest = cli.resolve_command(program, [*program._protected_args, *program.args])
    with pytest.raises(click.NoSuchOption, match="--jsn"):
        subcommand.make_context(name, rest, parent=program)


def test_pictures_exist():
    for document in DOCUMENTS:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} shows {target}, which is not there"
