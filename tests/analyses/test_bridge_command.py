"""Commands on models that are run as TransformerLens' bridge, and on names of the hub."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from analyses import exit_codes
from analyses.cli import cli
from analyses.model_source import ModelSource
from tests.interp.bridges import tiny
from tests.models.loading.test_gguf_tokenizer import write
from tests.models.word_tokenizer import word_tokenizer


def ran(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="interp")


def saved(case: str, folder: Path) -> Path:
    model = tiny(case).float()
    model.config.dtype = "float32"
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bloom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An architecture that is not converted."""
    return saved("bloom", tmp_path_factory.mktemp("hf") / "bloom")


@pytest.mark.filterwarnings("ignore")
def test_what_is_not_converted_is_checked_as_a_bridge(bloom: Path) -> None:
    some = ["--only", "source-logits", "--only", "pattern-rows", "--only", "patch-all", "--tokens", "5 9 31 6 9 12"]
    refused = ran("check", bloom, *some)
    assert refused.exit_code == exit_codes.BAD_FILE
    assert "'bloom' are not converted" in refused.output
    assert "--bridge" in refused.output
    result = ran("check", bloom, "--bridge", *some, "--json")
    assert result.exit_code == exit_codes.OK, result.output
    found = {one["name"]: one for one in json.loads(result.stdout)["outcomes"]}
    assert set(found) == {"source-logits", "pattern-rows", "patch-all"}
    for one in found.values():
        assert 0 <= one["error"] <= one["tolerance"]
        assert one["reason"]
    assert json.loads(result.stdout)["manifest"]["dtype"] == "float32"


def test_a_command_does_not_pass_on_the_warnings_of_the_bridge(tmp_path: Path) -> None:
    folder = str(saved("llama", tmp_path))
    words = ["check", folder, "--bridge", "--only", "looking", "--tokens", "5 9 31"]
    result = subprocess.run([sys.executable, "-m", "analyses", *words], capture_output=True, text=True, check=True)
    assert "1 of 1 hold" in result.stdout
    assert "Warning" not in result.stderr, result.stderr


@pytest.mark.filterwarnings("ignore")
def test_a_sweep_of_a_bridge_is_run_the_plain_way(bloom: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.json"
    pair = {"clean": [5, 9, 31, 6], "corrupted": [5, 12, 31, 6], "answer": 7, "wrong": 8}
    pairs.write_text(json.dumps([pair]))
    result = ran("sweep", bloom, "--bridge", "--task", pairs, "--site", "resid_mid", "--over", "layer", "--json")
    assert result.exit_code == exit_codes.OK, result.output
    assert "is not built of blocks" in result.stderr


@pytest.mark.filterwarnings("ignore")
def test_a_gguf_file_is_a_bridge_too_and_both_are_the_model_that_was_written(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf")
    logits = {}
    for option in ([], ["--bridge"]):
        some = ["--only", "source-logits", "--only", "causality", "--tokens", "5 9 31 6 9 12"]
        result = ran("check", file, *option, *some, "--json")
        assert result.exit_code == exit_codes.OK, result.output
        assert {one["name"] for one in json.loads(result.stdout)["outcomes"]} == {"source-logits", "causality"}
        source = ModelSource("tiny", file, bridge=bool(option))
        logits[bool(option)] = source.load()(torch.tensor([[5, 9, 31, 6, 9, 12]])).detach()
    assert torch.isfinite(logits[True]).all()
    assert_close(logits[True], logits[False], rtol=0, atol=1e-4)
    (tmp_path / "broken.gguf").write_bytes(file.read_bytes()[:200])
    broken = ran("check", tmp_path / "broken.gguf", "--bridge", "--only", "causality")
    assert broken.exit_code == exit_codes.BAD_FILE
    assert "transformers cannot read" in broken.output


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("option", [["--bridge", "--only", "causality"], ["--bridge", "--only", "source-logits"]])
def test_weights_that_are_not_there_are_not_drawn(bloom: Path, option: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "bloom"
    shutil.copytree(bloom, folder)
    weights = load_file(folder / "model.safetensors")
    given = ["--tokens", "5 9 31 6"]
    assert ran("check", folder, *option, *given).exit_code == exit_codes.OK

    def answer(changed: dict[str, torch.Tensor]) -> str:
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        result = ran("check", folder, *option, *given)
        assert result.exit_code == exit_codes.BAD_FILE
        return " ".join(result.output.split())

    name = next(name for name in weights if name.endswith("h.1.mlp.dense_h_to_4h.weight"))
    whole = "transformer.h.1.mlp.dense_h_to_4h.weight"
    missing = answer({key: value for key, value in weights.items() if key != name})
    assert f"missing: {whole}; unexpected: nothing" in missing
    assert "unexpected: transformer.h.1.more" in answer({**weights, "transformer.h.1.more": torch.zeros(3)})
    assert f"{whole} has values that are not finite" in answer({**weights, name: weights[name] * torch.nan})
    resized = answer({**weights, name: weights[name][:-1].contiguous()})
    assert whole in resized or "size" in resized


def test_only_what_transformers_reads_is_a_bridge() -> None:
    result = ran("check", "stdlib-1h", "--bridge", "--only", "causality")
    assert result.exit_code == exit_codes.BAD_FILE
    assert "leave --bridge out" in result.output
    assert ran("check", "stdlib-1h", "--only", "causality").exit_code == exit_codes.OK


def test_a_name_of_the_hub_means_the_files_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    saved("gpt2", repository / "snapshots" / ("0" * 40))
    result = ran("check", "org/tiny", "--only", "causality", "--json")
    assert result.exit_code == exit_codes.OK, result.output
    assert json.loads(result.stdout)["manifest"]["model"] == "org/tiny"
    absent = ran("check", "org/absent", "--only", "causality")
    assert absent.exit_code == exit_codes.USAGE
    assert "`hf download org/absent` fetches them" in absent.output
