"""Two models in one report: equal ones differ nowhere, others by what their own reports say."""

import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from analyses import difference, exit_codes
from analyses.cli import cli
from analyses.errors import ComparisonError, NotApplicableError
from analyses.model_source import resolved
from analyses.prompts import Prompts
from analyses.rendering import require_valid
from analyses.report import Panel, Part, compare, html
from analyses.report.compared import distinct_names, require_comparable
from models.loading import folder
from tests.analyses.test_report import fake
from tests.conftest import order_one_model, random_tokens


@pytest.fixture(scope="module")
def sources(model_folder, tmp_path_factory):
    """The small model, and one of the same vocabulary with other weights."""
    source = resolved(str(model_folder))
    other = order_one_model(seed=5)
    other.tokenizer = source.load().tokenizer
    place = tmp_path_factory.mktemp("other") / "later"
    folder.save(other, place)
    return source, resolved(str(place))


def test_a_model_compared_with_itself_differs_nowhere():
    model = order_one_model()
    result = difference.run(model, deepcopy(model), random_tokens(), names=("a", "b"))
    require_valid(result)
    assert result.finding == "a and b are the same model, weight by weight and prediction by prediction."
    changing = {name: value for name, value in result.numbers.items() if name != "parameters_compared"}
    assert changing.pop("least_cosine_of_the_streams") == 1
    assert set(changing.values()) == {0}
    n_parameters = len(list(model.parameters()))
    assert result.details[:2] == [f"All {n_parameters} parameters are equal.", "The streams are equal at every place."]
    for table, column in (("By prompt", "loss_difference_nats"), ("By position", "kl_nats"), ("Streams", "cosine_low")):
        assert set(result.tables[table][column]) == {1.0 if column.startswith("cosine") else 0.0}


def test_the_numbers_are_those_of_the_two_models():
    model, other, tokens = order_one_model(), order_one_model(seed=3), random_tokens(batch=6)
    result = difference.run(model, other, tokens, names=("a", "b"))
    require_valid(result)
    with torch.no_grad():
        losses = [float(each(tokens, return_type="loss")) for each in (model, other)]
    assert result.numbers["loss_difference_nats"] == pytest.approx(losses[1] - losses[0], rel=1e-10)
    assert result.numbers["kl_nats"] == pytest.approx(result.tables["By position"].kl_nats.mean(), rel=1e-10)
    assert f"{losses[1] - losses[0]:+.3g} nats per token" in result.finding
    changed = result.tables["Where the predictions changed most"]
    assert changed.kl_nats.iloc[0] == result.numbers["largest_kl_nats"]
    row = changed[changed.next_token.notna()].iloc[0]
    assert row.token == str(int(tokens[row.prompt, row.position]))
    assert row.next_token == str(int(tokens[row.prompt, row.position + 1]))
    last = changed[changed.position == tokens.shape[1] - 1]
    assert last.next_token.isna().all()
    assert last.loss_nats.isna().all()
    assert len(last) == len(tokens)


def test_one_prompt_and_models_of_other_shapes_can_be_compared():
    model, other = order_one_model(), order_one_model(d_model=14, n_layers=1)
    result = difference.run(model, other, random_tokens(batch=1), names=("a", "b"))
    require_valid(result)
    assert "Streams" not in result.tables
    assert "One prompt: no interval can be given." in result.details
    assert result.numbers["parameters_without_partner"] == len(result.tables["Weights without a partner"]) > 5
    assert any("different widths" in detail for detail in result.details)


def test_models_that_do_not_share_their_tokens_are_refused(sources):
    model, other = (source.load() for source in sources)
    require_comparable(model, other, ("a", "b"))
    with pytest.raises(ComparisonError, match="a reads 17 tokens and b 19"):
        require_comparable(model, order_one_model(d_vocab=19), ("a", "b"))
    with pytest.raises(ComparisonError, match="b has no tokenizer and a has one"):
        require_comparable(model, order_one_model(), ("a", "b"))
    require_comparable(order_one_model(), order_one_model(seed=1), ("a", "b"))
    foreign = deepcopy(other)
    foreign.tokenizer.add_tokens(["newer"])
    with pytest.raises(ComparisonError, match="differ in 1 tokens, the first of them 'newer': id none in the one, 17"):
        require_comparable(model, foreign, ("a", "b"))


def test_folders_of_the_same_name_are_told_apart_by_their_paths(sources, tmp_path):
    source, other = sources
    assert distinct_names(source, other) == ("tiny", "later")
    assert distinct_names(source, source) == ("tiny", "tiny (again)")
    places = [tmp_path / step / "tiny" for step in ("early", "late")]
    assert distinct_names(*(replace(source, path=place) for place in places)) == ("early/tiny", "late/tiny")


def test_a_comparison_has_both_answers_side_by_side(sources, one_analysis):
    models = tuple(source.load() for source in sources)
    report = compare(models, sources, Prompts(random_tokens(length=6), "random tokens"))
    assert [panel.name for panel in report.panels] == ["difference", "logit-lens"]
    lens = report.panels[1]
    assert [part.label for part in lens.parts] == ["tiny", "later"]
    by_name = {name: (values, change) for name, values, change in lens.side_by_side}
    values, change = by_name["loss_at_the_end_nats"]
    assert change == values[1] - values[0]
    assert change == pytest.approx(report.panels[0].results[0].numbers["loss_difference_nats"], rel=1e-9)
    assert by_name["half_of_the_kl_gone_at"][1] is None
    assert report.exit_code == exit_codes.OK
    assert len(report.summary) == 5
    assert report.manifest["against_weights_sha256"] == sources[1].weights_sha256() != report.manifest["weights_sha256"]
    assert "tiny against later" in html(report)
    assert list(report.architecture) == ["tiny", "later"]


def test_one_answer_has_nothing_beside_it():
    assert Panel("fake", (Part("", fake()),)).side_by_side == []
    two = Panel("fake", (Part("a", fake(numbers={"n": 2})), Part("b", fake(numbers={"n": 5, "m": np.nan}))))
    assert two.side_by_side[0] == ("n", [2, 5], 3)
    assert two.side_by_side[1][1][0] is None


def ran(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="interp")


def test_two_models_are_compared_from_the_command_line(sources, tmp_path, one_analysis):
    one, two = (source.path for source in sources)
    result = ran("report", one, "--against", two, "--prompt", "one two three", "--out", tmp_path)
    assert result.exit_code == exit_codes.OK, result.output
    assert "tiny against later on 1 prompt" in result.stderr
    assert "How they differ. The loss of later less that of tiny is" in result.stdout
    folder.save(order_one_model(d_vocab=19), tmp_path / "stranger")
    refused = ran("report", one, "--against", tmp_path / "stranger", "--out", tmp_path)
    assert refused.exit_code == exit_codes.USAGE
    assert "tiny reads 17 tokens and stranger 19" in refused.stderr
    assert (
        "neither a bundled model nor a folder. Did you mean 'stdlib-4l'"
        in ran("report", one, "--against", "stdlib-4").stderr
    )


def test_the_sample_is_cut_to_what_both_read_and_a_prompt_is_refused(sources, tmp_path, one_analysis):
    shorter = order_one_model(n_ctx=6)
    shorter.tokenizer = sources[0].load().tokenizer
    folder.save(shorter, tmp_path / "short")
    shutil.copy(sources[0].path / "sample.txt", tmp_path / "short")
    result = ran("report", sources[0].path, "--against", tmp_path / "short", "--out", tmp_path)
    assert result.exit_code == exit_codes.OK, result.output
    assert "cut to the 6 that both models read" in result.stderr
    long = ran("report", sources[0].path, "--against", tmp_path / "short", "--prompt", "one two three four five one")
    assert long.exit_code == exit_codes.USAGE
    assert "the prompt has 7 tokens; the other model reads 6 at most" in long.stderr


def test_panels_are_chosen_by_name_and_a_file_is_read(model_folder, tmp_path):
    file = tmp_path / "some.txt"
    file.write_text("one two three four " * 5)
    result = ran("report", model_folder, "--only", "logit-lens", "--text", file, "--out", tmp_path)
    assert result.exit_code == exit_codes.OK, result.output
    assert "tiny on 2 windows of 9 tokens of the given file" in result.stderr
    assert result.stderr.splitlines()[1:] == ["  logit-lens"]
    for arguments, told in (
        (["--only", "logit-lense"], "no panel is called 'logit-lense'. Did you mean 'logit-lens'?"),
        (["--only", "logit-lens", "--skip", "circuits"], "--only and --skip exclude one another"),
        (["--text", tmp_path / "none.txt"], "none.txt' cannot be read: No such file"),
        (["--text", file, "--prompt", "one two"], "--prompt and --text exclude one another"),
    ):
        refused = ran("report", model_folder, *arguments)
        assert refused.exit_code == exit_codes.USAGE
        assert told in refused.stderr
    file.write_bytes("é".encode("latin-1"))
    assert "is not UTF-8: byte 0 is 0xe9" in ran("report", model_folder, "--text", file).stderr
    file.write_text(" ")
    assert "holds no text" in ran("report", model_folder, "--text", file).stderr


def test_models_that_predict_another_vocabulary_have_no_losses_to_compare():
    with pytest.raises(NotApplicableError, match="its 5 outputs are not the 17 tokens"):
        difference.run(order_one_model(d_vocab_out=5), order_one_model(d_vocab_out=5, seed=1), random_tokens())
