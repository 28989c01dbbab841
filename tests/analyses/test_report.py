"""The report's page as text: its numbers are the results', its tokens are text, and it fetches nothing."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analyses import exit_codes
from analyses.errors import FigureError
from analyses.model_source import resolved
from analyses.prompts import Prompts, pair
from analyses.report import Panel, Part, Report, build, html
from analyses.report.figures import figure_json, has_gaps
from analyses.result import Result
from tests.analyses.conftest import HOSTILE
from tests.conftest import random_tokens


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, the text outside scripts, the text of each script."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.scripts, self.data, self.text, self._in = [], [], [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._in.append(tag)
            self.scripts.append((dict(attrs), ""))
        if tag == "data":
            self.data.append(dict(attrs)["value"])

    def handle_endtag(self, tag):
        if self._in and tag == self._in[-1]:
            self._in.pop()

    def handle_data(self, data):
        if self._in:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.text.append(data)


def fake(verdict="fine", numbers=None, table=None, figure=None):
    table = pd.DataFrame({"x": [1]}) if table is None else table
    figures = {} if figure is None else {"a figure": figure}
    return Result("fake", "Fake", "Is it?", verdict, {"size": 1} if numbers is None else numbers, {"a": table}, figures)


def page_of(*panels):
    manifest = {"tokens": "none", "date": "2020-01-01T00:00:00+00:00", "packages": {"torch": "2"}}
    return Page(html(Report("tiny", {"Blocks": "2"}, panels, manifest)))


def panel(result):
    return Panel(result.name, (Part("", result),))


@pytest.fixture(scope="module")
def built(model_folder):
    source = resolved(str(model_folder))
    return build(source.load(), source, Prompts(random_tokens(length=6), "random tokens"))


def numbers_in(result):
    """Every number of a result in the order of the page: the headlines, then the tables row by row."""
    values = [*result.numbers.values(), *(v for table in result.tables.values() for v in table.to_numpy().ravel())]
    return [value for value in values if not isinstance(value, str)]


def test_every_number_of_every_result_stands_in_the_page_in_full_precision(built):
    expected = [value for panel in built.panels for part in panel.parts for value in numbers_in(part.result)]
    shown = Page(html(built)).data
    assert len(shown) == len(expected) > 100
    for text, value in zip(shown, expected, strict=True):
        assert (text == "" and np.isnan(value)) or json.loads(text) == value


def test_the_manifest_has_what_a_repetition_needs(built):
    text = "".join(Page(html(built)).text)
    for needed in (
        built.manifest["weights_sha256"],
        built.manifest["tokens_sha256"],
        "float64",
        "2.13",
        "positions=32",
    ):
        assert needed in text
    assert re.fullmatch(r"[0-9a-f]{64}", built.manifest["weights_sha256"])


def test_the_page_names_no_address_that_a_browser_would_fetch(built):
    page = Page(html(built))
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert not any("url(http" in text or "@import" in text for _, text in page.scripts[:1])


@pytest.mark.parametrize("token", HOSTILE[1:])
def test_a_token_is_text_wherever_it_stands(token):
    figure = go.Figure(go.Bar(x=[0], y=[1.0], text=[token], name=token)).update_xaxes(tickvals=[0], ticktext=[token])
    result = fake("it says " + token.replace("\n", " "), {"token": token}, pd.DataFrame({"token": [token]}), figure)
    page, harmless = (
        page_of(panel(result)),
        page_of(panel(fake(" ", {"token": "a"}, None, go.Figure(go.Bar(x=[0], y=[1]))))),
    )
    assert [tag for tag, _ in page.tags].count("script") == [tag for tag, _ in harmless.tags].count("script")
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless.tags}
    drawn = next(json.loads(text) for attributes, text in page.scripts if "data-for" in attributes)
    assert len(drawn["layout"]["xaxis"]["ticktext"]) == 1
    assert "<" not in json.dumps(drawn["layout"]["xaxis"]["ticktext"])
    if token.isprintable() and token:
        assert "".join(page.text).count(token) == 4  # the verdict twice, the number, the table's cell


def test_directions_of_writing_cannot_be_turned():
    page = page_of(panel(fake("a\u202eb", {"t": "c\u202ed"})))
    assert "\u202e" not in "".join(page.text)
    assert "c\\u202ed" in page.text


def test_what_is_missing_is_a_dash_and_a_hatched_cell_and_never_zero():
    table = pd.DataFrame({"value": [0.0, np.nan, np.inf], "whole": pd.array([1, None, 3], dtype="Int64")})
    figure = go.Figure(go.Heatmap(z=[[0.0, np.nan], [1.0, np.inf]]))
    page = page_of(panel(fake(table=table, figure=figure)))
    assert page.data[1:] == ["0.0", "1", "", "", "", "3"]
    cells = [text for text in page.text if text in ("0", "1", "3", "–")]
    assert cells[1:7] == ["0", "1", "–", "–", "–", "3"]
    assert has_gaps(figure)
    assert "Hatched: no value." in page.text
    assert not has_gaps(go.Figure(go.Heatmap(z=[[0.0, 2.0], [1.0, 3.0]])))
    assert "Infinity" not in figure_json(figure)


@pytest.mark.parametrize(
    "figure",
    [
        go.Figure(go.Heatmap(z=np.zeros((2, 3)), x=["a"])),
        go.Figure(go.Heatmap(z=np.zeros((2, 3)), text=[["a", "b", "c"]])),
        go.Figure(go.Bar(x=["a", "b"], y=[1.0])),
        go.Figure(go.Bar(y=[1.0])).update_xaxes(tickvals=[0], ticktext=["a", "b"]),
    ],
)
def test_labels_of_the_wrong_length_are_refused(figure):
    with pytest.raises(FigureError, match=r"label|texts"):
        figure_json(figure)


def test_labels_of_the_right_length_are_drawn():
    figure = go.Figure(go.Heatmap(z=np.zeros((2, 3)), x=["a", "b", "c"], y=["d", "e"], text=[list("abc")] * 2))
    assert json.loads(figure_json(figure))["data"][0]["x"] == ["a", "b", "c"]


def test_an_analysis_that_fails_leaves_its_reason_and_the_others_stand():
    failed = Panel("circuits", failure="ValueError: <no> heads", code=exit_codes.INTERNAL)
    report = Report("tiny", {}, (panel(fake()), failed), {})
    assert report.exit_code == exit_codes.PARTIAL
    assert Report("tiny", {}, (failed,), {}).exit_code == exit_codes.INTERNAL
    assert Report("tiny", {}, (panel(fake()),), {}).exit_code == exit_codes.OK
    assert any("ValueError: <no> heads" in text for text in page_of(panel(fake()), failed).text)


def test_a_pair_is_compared_from_the_first_token_that_differs(model_folder, one_analysis):
    source = resolved(str(model_folder))
    model = source.load()
    report = build(model, source, pair(model, "one two three four", "one two five four"), paired=True)
    table = report.panels[0].parts[0].result.tables["By position"]
    assert table.differs.tolist() == [False, False, False, True, False]  # the first token begins every text
    assert table.kl_nats[:3].tolist() == [0.0, 0.0, 0.0]
    assert (table.kl_nats[3:] > 0).all()
    lens = next(panel for panel in report.panels if panel.name == "logit-lens")
    assert [part.label for part in lens.parts] == ["Clean", "Corrupted"]
    tokens = [part.result.tables["Token by token"].token.tolist()[:4] for part in lens.parts]
    assert [row[3] for row in tokens] == ["three", "five"]
