"""The command line: what it prints where, what it refuses and how, and its exit codes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from analyses import catalogue, exit_codes
from analyses import cli as program
from analyses.cli import cli
from analyses.commands import train as train_command
from analyses.commands.arguments import OutputFolder
from analyses.errors import InvalidResultError
from analyses.model_source import resolved
from analyses.prompts import prompts
from analyses.report import build
from analyses.result import Result
from models.errors import CheckpointError, InputError
from models.loading import folder as model_folders
from tests.conftest import order_one_model


def ran(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="interp")


@dataclass(frozen=True)
class FakeOptions:
    size: int = field(default=3, metadata={"help": "How large."})


@pytest.fixture
def fake(monkeypatch, one_analysis):
    """An analysis that answers with its options, or does what the test puts into `fake.act`."""
    module = ModuleType("analyses.fake", "A fake.")
    module.Options, module.act, module.number = FakeOptions, lambda: None, 1.5

    def run(model, tokens, options):
        module.act()
        table = pd.DataFrame({"token": ["</script>"], "value": [np.nan]})
        return Result("fake", "Fake", "Is it?", "It is.", {"size": options.size, "number": module.number}, {"t": table})

    module.run = run
    monkeypatch.setitem(catalogue.ANALYSES, "fake", "A fake analysis.")
    monkeypatch.setitem(sys.modules, "analyses.fake", module)
    monkeypatch.setitem(program._COMMANDS, "fake", "A fake analysis.")
    return module


def test_help_does_not_import_torch():
    script = (
        "import sys\nfrom analyses.cli import cli\ntry: cli(['--help'])\nexcept SystemExit as end: print(end.code)\n"
        "print([name for name in ('torch', 'pandas', 'plotly', 'transformer_lens', 'models') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-2:] == ["0", "[]"]
    assert "logit-lens" in out


def test_the_module_is_the_same_program_as_the_script():
    done = subprocess.run([sys.executable, "-m", "analyses", "models", "--json"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert isinstance(json.loads(done.stdout), list)


def test_a_reader_who_leaves_ends_the_program_quietly():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "analyses", "models"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_report_is_written_and_says_where(model_folder, tmp_path, one_analysis):
    result = ran("report", model_folder, "--out", tmp_path / "new")
    assert result.exit_code == exit_codes.OK, result.output
    assert result.stdout.rstrip().endswith(str(tmp_path / "new" / "report.html"))
    assert "8 windows" not in result.stdout
    assert "tiny on 7 windows of 9 tokens of the model's held-out sample" in result.stderr
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["report.html"]


def test_a_report_as_json_is_the_results(model_folder, tmp_path, fake):
    result = ran("report", model_folder, "--prompt", "one two three", "--json", "--out", tmp_path)
    document = json.loads(result.stdout)
    panel = next(panel for panel in document["panels"] if panel["name"] == "fake")
    assert panel["parts"][0]["result"]["numbers"] == {"size": 3, "number": 1.5}
    assert panel["options"] == {"size": 3}
    assert document["manifest"]["tokens_shape"] == [1, 4]


def test_an_analysis_has_its_options_on_the_command_line_and_in_the_manifest(model_folder, fake, tmp_path):
    result = ran("fake", model_folder, "--size", "5", "--tokens", "1 2, 3", "--json", "--out", tmp_path)
    assert result.exit_code == exit_codes.OK, result.output
    document = json.loads(result.stdout)
    assert document["result"]["numbers"]["size"] == 5
    assert document["result"]["tables"]["t"] == [{"token": "</script>", "value": None}]
    assert document["manifest"]["options"] == {"size": 5}
    assert json.loads((tmp_path / "fake.json").read_text()) == document
    assert (tmp_path / "fake.t.csv").read_text() == "token,value\n</script>,\n"
    assert "How large.  [default: 3]" in ran("fake", "--help").output


def test_a_result_on_the_terminal_shows_what_is_missing_as_a_dash(model_folder, fake):
    lines = ran("fake", model_folder).stdout.splitlines()
    assert lines[:2] == ["Fake", "Is it?"]
    assert lines[-1].split() == ["</script>", "–"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["reportt"], "No such command 'reportt'. Did you mean 'report'?"),
        (["report", "--promt", "x"], "--prompt"),
        (["report", "stdlib-4"], "neither a bundled model nor a folder. Did you mean 'stdlib-4l'"),
        (["train", "stdlib-4"], "no recipe is called 'stdlib-4'. Did you mean 'stdlib-4l'"),
        (["train"], "Missing argument 'RECIPE'"),
        (["report", "--prompt", "a", "--tokens", "1"], "--prompt and --tokens exclude one another"),
        (["report", "--pair", "a", "b", "--prompt", "a"], "--prompt and --pair exclude one another"),
        (["report", "--pair", "a"], "'--pair' requires 2 arguments"),
        (["logit-lens", "--prompt", ""], "a text is empty"),
        (["logit-lens", "--tokens", "1 x 3"], "'x' is not a token id"),
        (["logit-lens", "--tokens", "-1"], "'-1' is not a token id"),
        (["logit-lens", "--positions", "many"], "'many' is not a valid integer"),
        (["logit-lens", "--prompt", "one two", "--positions", "0"], "positions=0 must be at least 1"),
        (["logit-lens", "--positions", "-3"], "positions=-3 must be at least 1"),
        (["residual-ablation", "--alpha", "nan"], "alpha=nan must be a finite number"),
        (["residual-ablation", "--alpha", "inf"], "alpha=inf must be a finite number"),
        (["circuits", "--vocabulary", "1"], "vocabulary=1 must be at least 2"),
        (["circuits", "--top", "100000000"], "top=100000000 must be from 1 to vocabulary=4096"),
        (["report", "--out", __file__], "is a file, not a folder"),
        (["report", "--out", f"{__file__}/below"], "is a file, not a folder"),
        (["report", "--out", "x" * 300], "cannot be written to: File name too long"),
        (["report", "--out", "/proc/nowhere"], "cannot be written to"),
        (["report", "--out", ""], "the name of the folder is empty"),
    ],
)
def test_wrong_usage_is_told_before_a_model_is_loaded(arguments, told, monkeypatch):
    monkeypatch.setattr("analyses.model_source.ModelSource.load", lambda self: pytest.fail("the model was loaded"))
    result = ran(*arguments)
    assert result.exit_code == exit_codes.USAGE
    assert told in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--pair", "one two", "one two three"], "corrupted, 4 tokens: [<unk>] [one] [two] [three]"),
        (["--pair", "one two", "one two"], "nothing can be compared"),
        (["--prompt", "one two", "--prompt", "one"], "these have [3, 2]"),
        (["--prompt", "one " * 9], "the prompt has 10 tokens; the model reads 9 at most"),
        (["--tokens", "3 17"], "token ids go from 0 to 16; given were 3 to 17"),
        (["--tokens", "3"], "at least two tokens"),
    ],
)
def test_text_that_does_not_fit_the_model_is_wrong_usage(arguments, told, model_folder, tmp_path):
    result = ran("report", model_folder, *arguments, "--out", tmp_path)
    assert result.exit_code == exit_codes.USAGE
    assert told in result.stderr
    assert not list(tmp_path.iterdir())


def test_text_for_a_model_without_tokenizer_is_refused_and_no_text_is_random_tokens(tmp_path, fake):
    model_folders.save(order_one_model(), tmp_path / "mute")
    refused = ran("fake", tmp_path / "mute", "--prompt", "a b")
    assert refused.exit_code == exit_codes.USAGE
    assert "the model has no tokenizer" in refused.stderr
    result = ran("fake", tmp_path / "mute")
    assert result.exit_code == exit_codes.OK
    assert "8 × 9 random tokens, seed 0, because the model has no tokenizer" in result.stderr


def test_a_model_with_rows_of_token_ids_is_run_on_them(model_folder, tmp_path, fake):
    shutil.copytree(model_folder, tmp_path / "rows")
    (tmp_path / "rows" / "sample_tokens.json").write_text("[[1, 2, 3], [4, 5, 6]]")
    assert "rows on the model's 2 held-out rows of 3 tokens" in ran("fake", tmp_path / "rows").stderr
    (tmp_path / "rows" / "sample_tokens.json").write_text("[[1, 2, 3]")
    damaged = ran("fake", tmp_path / "rows")
    assert damaged.exit_code == exit_codes.BAD_FILE
    assert "sample_tokens.json' is not JSON" in damaged.stderr


def test_a_damaged_model_is_a_bad_file(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    result = ran("logit-lens", tmp_path / "damaged")
    assert result.exit_code == exit_codes.BAD_FILE
    assert "model.safetensors" in result.stderr
    assert "Traceback" not in result.stderr
    empty = ran("logit-lens", tmp_path)
    assert empty.exit_code == exit_codes.BAD_FILE
    assert "there is no config.json in it" in empty.stderr


def test_a_sample_that_is_not_utf_8_is_a_bad_file(model_folder, tmp_path, fake):
    shutil.copytree(model_folder, tmp_path / "latin")
    (tmp_path / "latin" / "sample.txt").write_bytes("one two é".encode("latin-1"))
    result = ran("fake", tmp_path / "latin")
    assert result.exit_code == exit_codes.BAD_FILE
    assert "sample.txt' is not UTF-8: byte 8 is 0xe9" in result.stderr
    assert ran("fake", tmp_path / "latin", "--prompt", "one two").exit_code == exit_codes.OK


def test_a_headline_that_is_not_finite_is_an_invalid_result(model_folder, fake, tmp_path):
    fake.number = float("nan")
    result = ran("fake", model_folder, "--json")
    assert result.exit_code == exit_codes.INVALID_RESULT
    assert "fake: number is nan" in result.stderr
    assert json.loads(result.stdout)["result"]["numbers"]["number"] is None
    assert ran("report", model_folder, "--out", tmp_path).exit_code == exit_codes.INVALID_RESULT
    assert "This result is not valid" in (tmp_path / "report.html").read_text(encoding="utf-8")


def raising(error):
    def act():
        raise error

    return act


def test_a_report_without_one_of_its_panels_is_partial(model_folder, fake, tmp_path):
    fake.act = raising(ZeroDivisionError("no <heads>"))
    result = ran("report", model_folder, "--out", tmp_path)
    assert result.exit_code == exit_codes.PARTIAL
    assert "This analysis gave no result: ZeroDivisionError: no <heads>" in result.stdout
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "ZeroDivisionError: no &lt;heads&gt;" in page
    assert 'id="logit-lens"' in page


def test_an_internal_error_is_a_sentence_and_with_debug_a_traceback(model_folder, fake):
    fake.act = raising(ZeroDivisionError("by zero"))
    result = ran("fake", model_folder)
    assert result.exit_code == exit_codes.INTERNAL
    assert "ZeroDivisionError: by zero" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in ran("fake", model_folder, "--debug").stderr


def test_an_interrupt_is_told_as_one(model_folder, fake, tmp_path):
    fake.act = raising(KeyboardInterrupt())
    for command in (["fake", model_folder], ["report", model_folder, "--out", tmp_path]):
        result = ran(*command)
        assert result.exit_code == exit_codes.INTERRUPTED
        assert "Interrupted." in result.stderr
    assert not list(tmp_path.iterdir())


def test_each_error_has_its_code_and_a_stranger_is_internal():
    assert exit_codes.exit_code(CheckpointError("x")) == 3
    assert exit_codes.exit_code(InputError("x")) == 2
    assert exit_codes.exit_code(InvalidResultError("x")) == 4
    assert exit_codes.exit_code(FileNotFoundError(2, "gone")) == 3
    assert exit_codes.exit_code(ValueError("x")) == 1


def test_an_output_folder_is_tried_out_and_left_as_it_was(tmp_path):
    folder = OutputFolder().convert(tmp_path / "new" / "newer", None, None)
    assert folder == tmp_path / "new" / "newer"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    OutputFolder().convert(tmp_path / "kept" / "new", None, None)
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["file"]


def test_train_hands_over_the_recipe_and_tells_the_loss(monkeypatch, tmp_path):
    handed = []

    def train(recipe, folder, progress):
        handed.append((recipe.name, folder))
        return SimpleNamespace(curve=[SimpleNamespace(held_out_loss=1.25, held_out_standard_error=0.5)])

    monkeypatch.setattr(train_command, "train", train)
    result = ran("train", "stdlib-4l", "--out", tmp_path)
    assert result.exit_code == exit_codes.OK, result.output
    assert handed == [("stdlib-4l", tmp_path)]
    assert result.stdout.startswith("Held-out loss: 1.2500 ± 0.5000 nats for each token")
    (tmp_path / "config.json").touch()
    assert "already holds a model" in ran("train", "stdlib-4l", "--out", tmp_path).stderr
    assert len(handed) == 1


def test_the_model_is_not_changed_by_a_report(model_folder, tmp_path):
    source = resolved(str(model_folder))
    model = source.load()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    build(model, source, prompts(model, source))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
