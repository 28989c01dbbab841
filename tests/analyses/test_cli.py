import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from analyses.cli import cli
from models.loading import folder
from tests.conftest import order_one_model


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("zoo") / "tiny"
    folder.save(order_one_model(), place)
    return str(place)


def ran(*arguments):
    return CliRunner().invoke(cli, list(arguments), prog_name="interp")


def test_help_does_not_import_torch():
    script = (
        "import sys\nfrom analyses.cli import cli\ntry: cli(['--help'])\nexcept SystemExit as end: print(end.code)\n"
        "print([name for name in ('torch', 'pandas', 'plotly', 'transformer_lens', 'models') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    assert "report" in out


def test_a_report_is_written_and_says_where(model_folder, tmp_path):
    result = ran("report", model_folder, "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith(str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_an_analysis_as_json_is_its_result_with_its_options(model_folder):
    result = ran("logit-lens", model_folder, "--tokens", "1 2 3 4", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["result"]["name"] == "logit-lens"
    assert document["manifest"]["tokens_shape"] == [1, 4]
    assert document["manifest"]["options"]["drawn_prompt"] == 0
