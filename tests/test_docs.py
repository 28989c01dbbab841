"""Every code block of the documents runs, every command runs or exists, and the guide builds without warnings."""

import re
import subprocess
import sys
from importlib.util import find_spec

import click
import pytest

from tests.documents import DOCUMENTS, ROOT, blocks, parsed, run_blocks, run_command

# The pages of the analyses are run by test_docs_analyses.py, which looks at their results as well.
ELSEWHERE = {page for page in (ROOT / "docs" / "analyses").glob("*.md") if page.stem != "index"}
RUN = [d for d in DOCUMENTS if d not in ELSEWHERE and {"python", "console"} & {language for language, _ in blocks(d)}]


@pytest.mark.parametrize("document", RUN, ids=lambda document: str(document.relative_to(ROOT)))
def test_the_blocks_run_one_after_another(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(document)


def test_a_wrong_command_line_would_be_seen():
    assert parsed(["logit-lens", "--json"])["json_wanted"]
    with pytest.raises(click.NoSuchOption, match="--jsn"):
        parsed(["logit-lens", "--jsn"])


def test_another_exit_code_would_be_seen():
    run_command("interp heads stdlib-4m  # exit code 2")
    with pytest.raises(AssertionError, match="stdlib-4m"):
        run_command("interp heads stdlib-4m")


def test_pictures_exist():
    for document in DOCUMENTS:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} shows {target}, which is not there"


def test_every_block_is_of_a_language_that_is_run_or_is_plain_text():
    for document in DOCUMENTS:
        assert {language for language, _ in blocks(document)} <= {"python", "console", "text", "{toctree}"}, document


@pytest.mark.skipif(find_spec("sphinx") is None, reason="the guide is built with the extra `docs`, which is missing")
def test_the_guide_builds_without_warnings(tmp_path):
    options = ["-q", "-W", "--keep-going"]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "analyses" / "patching.html").is_file()
