"""An options dataclass and its command line are the same thing."""

from dataclasses import dataclass, field
from typing import Literal

import click
import pytest
from click.testing import CliRunner

from analyses.catalogue import ANALYSES, analysis
from analyses.commands.options import click_options


@dataclass(frozen=True)
class Every:
    n_heads: int = 3
    scale: float = 0.5
    name: str = field(default="a", metadata={"help": "Its name."})
    exact: bool = True
    scheme: Literal["gpt2", "xavier"] = "gpt2"
    layers: tuple[int, ...] = (1, 2)
    limit: int | None = None


def chosen(*arguments):
    got = []
    command = click.Command("x", params=click_options(Every), callback=lambda **values: got.append(Every(**values)))
    result = CliRunner().invoke(command, list(arguments))
    return got[0] if got else result.output


def test_no_option_given_is_the_dataclass_itself():
    assert chosen() == Every()


def test_every_type_arrives_as_the_dataclass_declares_it():
    line = "--n-heads 4 --scale 0.25 --name b --no-exact --scheme xavier --layers 7 --layers 8 --limit 9"
    assert chosen(*line.split()) == Every(4, 0.25, "b", False, "xavier", (7, 8), 9)


def test_a_value_of_another_type_is_refused():
    assert "'x' is not one of 'gpt2', 'xavier'" in chosen("--scheme", "x")
    assert "'x' is not a valid integer" in chosen("--n-heads", "x")


def test_a_field_that_no_option_can_have_is_refused():
    @dataclass(frozen=True)
    class Wrong:
        rows: dict = field(default_factory=dict)

    @dataclass(frozen=True)
    class Missing:
        rows: int

    with pytest.raises(TypeError, match="the option 'rows' has the type <class 'dict'>"):
        click_options(Wrong)
    with pytest.raises(TypeError, match="the option 'rows' has no default"):
        click_options(Missing)


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_tells_what_its_options_are_for(name):
    for option in click_options(analysis(name).Options):
        assert option.help, f"{name}: {option.name} has no help"
