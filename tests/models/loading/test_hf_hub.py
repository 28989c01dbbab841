"""Names on the hub, without a hub: what the local cache holds, and what is said where it does not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading.hf_hub import is_hub_name, repository_of
from tests.conftest import random_tokens
from tests.models.loading.architectures import tiny

Download = Callable[..., str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one repository, in the layout of `huggingface_hub`; asking the network raises."""
    cached = tmp_path / "models--org--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    tiny("llama").save_pretrained(cached / "snapshots" / ("0" * 40))
    download: Download = huggingface_hub.snapshot_download

    def from_this_cache(repository: str, **options: Any) -> str:
        if not options.get("local_files_only"):
            raise LocalEntryNotFoundError("Got: ConnectError: no network\nand more")
        return download(repository, cache_dir=tmp_path, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", from_this_cache)
    return cached / "snapshots" / ("0" * 40)


def loaded(name: str) -> HookedTransformer:
    return HookedTransformer.from_pretrained_no_processing(name, device="cpu")


def test_files_in_the_cache_are_read_without_a_network(hub: Path) -> None:
    model = loaded("org/tiny")
    assert torch.equal(model(random_tokens()), loaded(str(hub))(random_tokens()))
    assert model.cfg.model_name == "org/tiny"


@pytest.mark.parametrize("name", ["org/absent", "gpt2", "gpt2-small"])
def test_a_name_that_is_nowhere_says_why(hub: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"neither a bundled.*files of .* not in the local cache.*no network$"):
        loaded(name)


def test_a_snapshot_that_is_not_whole_is_not_taken_for_a_model(hub: Path) -> None:
    (hub / "model.safetensors").rename(hub / "model-00001-of-00002.safetensors")
    places = {"lm_head.weight": "model-00001-of-00002.safetensors", "x": "model-00002-of-00002.safetensors"}
    (hub / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(CheckpointError, match="not in the local cache"):
        loaded("org/tiny")


def test_a_repository_without_safetensors_is_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repository, **options: str(hub))
    with pytest.raises(CheckpointError, match="has no safetensors; pickled files can hold code"):
        loaded("org/tiny")


@pytest.mark.parametrize(
    ("slip", "meant"), [("stdlib-2", "stdlib-2l"), ("smolm2", "smollm2"), ("SmolLM2", "smollm2"), ("smollm", "smollm2")]
)
def test_a_slip_in_a_name_of_ours_is_told_without_asking_the_network(hub: Path, slip: str, meant: str) -> None:
    with pytest.raises(CheckpointError, match=rf"Did you mean '{meant}'\?.*stdlib-4l\. Of packages: smollm2\.$"):
        loaded(slip)


def test_a_name_with_an_owner_is_no_slip(hub: Path) -> None:
    with pytest.raises(CheckpointError, match=r"On the hub: .*no network$"):
        loaded("org/smollm2")


def test_names_of_transformer_lens_mean_the_same_repositories() -> None:
    assert repository_of("pythia-70m") == "EleutherAI/pythia-70m"
    assert repository_of("gpt2-small") == "gpt2"
    assert repository_of("org/tiny") == "org/tiny"


def test_paths_are_no_names() -> None:
    assert is_hub_name("EleutherAI/pythia-70m")
    assert not any(map(is_hub_name, ["../gpt2", "/tmp/model", "a/b/c", "no such model", ""]))
