"""A model beside the transformers model that its weights came from."""

import json

import pytest
import torch
from click.testing import CliRunner
from transformers import LlamaConfig, LlamaForCausalLM

from analyses import exit_codes
from analyses.cli import cli
from interp.invariants.source import same_logits

from ..conftest import order_one_model, random_tokens


def ran(*arguments):
    return CliRunner().invoke(cli, ["check", *map(str, arguments)], prog_name="interp")


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf") / "tiny"
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=6, vocab_size=17, max_position_embeddings=9, initializer_range=0.5,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_equal_logits_pass_and_a_part_in_a_thousand_does_not():
    model, tokens = order_one_model(), random_tokens()
    same = same_logits(model, "itself").outcome(model, tokens)
    assert (same.name, same.statement, same.error, same.passed) == (
        "source-logits", "the logits are those of itself", 0.0, True
    )  # fmt: skip
    off = same_logits(lambda tokens: 1.001 * model(tokens), "another").outcome(model, tokens)
    assert off.error == pytest.approx(1e-3, rel=0.01)
    assert off.failed


def test_a_hugging_face_folder_is_run_by_transformers_too(llama_folder):
    result = ran(llama_folder, "--only", "source-logits", "--only", "pattern-rows", "--json")
    assert result.exit_code == exit_codes.OK, result.output
    outcomes = {one["name"]: one for one in json.loads(result.stdout)["outcomes"]}
    assert list(outcomes) == ["source-logits", "pattern-rows"]
    assert outcomes["source-logits"]["error"] < 1e-5


def test_another_model_in_its_place_is_a_failure(llama_folder, monkeypatch):
    forward = LlamaForCausalLM.forward

    def louder(self, *given, **named):
        found = forward(self, *given, **named)
        found.logits = found.logits * 1.01
        return found

    monkeypatch.setattr(LlamaForCausalLM, "forward", louder)
    result = ran(llama_folder, "--only", "source-logits")
    assert result.exit_code == exit_codes.INVALID_RESULT
    assert "1 of 1 invariants do not hold: source-logits" in result.output


def test_a_model_without_such_a_source_is_not_compared():
    result = ran("stdlib-1h", "--only", "source-logits")
    assert result.exit_code == exit_codes.USAGE
    assert "stdlib-1h is no checkpoint that transformers can run itself" in result.output
    assert ran("stdlib-1h", "--only", "pattern-rows").exit_code == exit_codes.OK


def test_a_wrong_name_is_refused_with_the_nearest():
    result = ran("stdlib-1h", "--only", "source-logit")
    assert result.exit_code == exit_codes.USAGE
    assert "Did you mean 'source-logits'?" in result.output
