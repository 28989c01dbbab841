"""Every analysis has a page in the guide that names all its options and every identity that backs it."""

from pathlib import Path

import click
import pytest

from analyses.catalogue import ANALYSES, analysis
from analyses.commands.options import click_options
from analyses.result import Result
from tests.documents import run_blocks

PAGES = Path(__file__).parents[1] / "docs" / "analyses"

HEADINGS = ("What is computed", "In Python", "On the command line", "How to read it", "Pitfalls", "Source")


def option_table(name: str) -> str:
    """The table of an analysis' options as its page must have it."""
    lines = ["| Option | Default | Meaning |", "|---|---|---|"]
    for option in click_options(analysis(name).Options):
        # click's own help says the same in the same words.
        flags = " / ".join([*option.opts, *option.secondary_opts])
        default = (
            "" if option.default is None else f"`{str(option.default).lower() if option.is_flag else option.default}`"
        )
        choices = f" One of {', '.join(option.type.choices)}." if isinstance(option.type, click.Choice) else ""
        lines.append(f"| `{flags}` | {default} | {option.help}{choices} |")
    return "\n".join(lines)


def test_every_analysis_has_a_page_and_every_page_an_analysis():
    assert {page.stem for page in PAGES.glob("*.md")} - {"index"} == set(ANALYSES)


@pytest.mark.parametrize("name", ANALYSES)
def test_the_page_has_its_sections_its_command_and_all_options(name):
    page = (PAGES / f"{name}.md").read_text()
    assert [heading for heading in HEADINGS if f"\n## {heading}\n" not in page] == []
    assert f"$ interp {name} " in page
    table = option_table(name)
    assert table in page, f"docs/analyses/{name}.md must have this table of options:\n{table}"
    assert f"\n{name}\n" in (PAGES / "index.md").read_text()


@pytest.mark.parametrize("name", ANALYSES)
def test_the_page_runs_and_names_every_identity_that_backs_its_numbers(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = PAGES / f"{name}.md"
    result = run_blocks(page)["result"]
    assert isinstance(result, Result)
    assert result.name == name
    missing = [
        f"- {identity.statement}" for identity in result.identities if identity.statement not in page.read_text()
    ]
    assert missing == [], f"docs/analyses/{name}.md must name these identities:\n" + "\n".join(missing)
    assert all(identity.holds for identity in result.identities)
