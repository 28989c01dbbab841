"""The report's page as text: its numbers are the results', its tokens are text, and it fetches nothing."""

import json
import re
from dataclasses import replace
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
from analyses.report.embedded import ROWS
from analyses.report.figures import figure_json, has_gaps
from analyses.result import Identity, Result
from tests.analyses.conftest import HOSTILE
from tests.conftest import order_one_model, random_tokens


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
    return Page(html(Report("tiny", {"tiny": {"Blocks": "2"}}, panels, manifest)))


def panel(result):
    return Panel(result.name, (Part("", result),))


def headlines(result):
    """The headline numbers of a result in the order of the page."""
    return [value for value in result.numbers.values() if not isinstance(value, str)]


def embedded(page, kind):
    """What the page's own scripts read: `data` of each panel, or the figures."""
    wanted = {"data": lambda a: a.get("class") == "data", "figure": lambda a: "data-for" in a}[kind]
    return [json.loads(text) for attributes, text in page.scripts if wanted(attributes)]


def same(shown, value):
    """Whether the page holds the value to nine digits, and nothing where there is none."""
    if isinstance(value, str | bool | np.bool_):
        return shown == value
    if pd.isna(value) or np.isinf(value):
        return shown is None
    return shown == pytest.approx(value, rel=1e-8)


def test_every_number_of_every_result_stands_in_the_page(built):
    page = Page(html(built))
    results = [result for panel in built.panels for result in panel.results]
    expected = [value for result in results for value in headlines(result)]
    assert [json.loads(text) for text in page.data] == expected
    assert len(expected) > 10
    data = [part["result"] for panel in embedded(page, "data") for part in panel["parts"]]
    n_cells = 0
    for shown, result in zip(data, results, strict=True):
        assert [table["title"] for table in shown["tables"]] == list(result.tables)
        for drawn, table in zip(shown["tables"], result.tables.values(), strict=True):
            assert drawn["columns"] == list(table.columns)
            for values, name in zip(drawn["values"], table.columns, strict=True):
                column = table[name].tolist()[:ROWS]
                assert len(values) == len(column)
                assert all(same(one, other) for one, other in zip(values, column, strict=True))
                n_cells += len(values)
    assert n_cells > 1000


def test_a_long_table_is_cut_and_the_page_says_so():
    page = page_of(panel(fake(table=pd.DataFrame({"x": range(ROWS + 1)}))))
    table = embedded(page, "data")[0]["parts"][0]["result"]["tables"][0]
    assert (len(table["values"][0]), table["rows"]) == (ROWS, ROWS + 1)
    assert "401 rows, of which the page holds the first 400" in "".join(page.text)
    whole = page_of(panel(fake(table=pd.DataFrame({"x": range(ROWS)}))))
    assert "of which the page holds" not in "".join(whole.text)


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
    drawn = embedded(page, "figure")[0]
    assert embedded(page, "data")[0]["parts"][0]["result"]["tables"][0]["values"] == [[token]]
    assert len(drawn["layout"]["xaxis"]["ticktext"]) == 1
    assert "<" not in json.dumps(drawn["layout"]["xaxis"]["ticktext"])
    if token.isprintable() and token:
        assert "".join(page.text).count(token) == 2  # the verdict and the number


def test_directions_of_writing_cannot_be_turned():
    page = page_of(panel(fake("a\u202eb", {"t": "c\u202ed"})))
    assert "\u202e" not in "".join(page.text)
    assert "c\\u202ed" in page.text


def test_what_is_missing_is_null_and_a_hatched_cell_and_never_zero():
    table = pd.DataFrame({"value": [0.0, np.nan, np.inf], "whole": pd.array([1, None, 3], dtype="Int64")})
    figure = go.Figure(go.Heatmap(z=[[0.0, np.nan], [1.0, np.inf]]))
    page = page_of(panel(fake(numbers={"none": float("nan")}, table=table, figure=figure)))
    assert page.data == [""]
    assert "–" in page.text
    shown = embedded(page, "data")[0]["parts"][0]["result"]["tables"][0]
    assert shown["values"] == [[0.0, None, None], [1, None, 3]]
    assert shown["floats"] == [1, 0]
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
    failed = Panel("circuits", (Part("", failure="ValueError: <no> heads", code=exit_codes.INTERNAL),))
    report = Report("tiny", {}, (panel(fake()), failed), {})
    assert report.exit_code == exit_codes.PARTIAL
    assert Report("tiny", {}, (failed,), {}).exit_code == exit_codes.INTERNAL
    assert Report("tiny", {}, (panel(fake()),), {}).exit_code == exit_codes.OK
    assert any("ValueError: <no> heads" in text for text in page_of(panel(fake()), failed).text)


def test_a_question_that_was_not_asked_stands_in_a_list_and_is_no_failure():
    unasked = Panel("fake-heads", (Part("", not_applicable="it has <no> heads"),))
    report = Report("tiny", {}, (panel(fake()), unasked), {})
    assert report.exit_code == exit_codes.OK
    page = page_of(panel(fake()), unasked)
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == [
        *("summary", "fake", "not-asked", "manifest")
    ]
    assert {"Fake heads", "it has <no> heads."} <= set(page.text)


def test_identities_stand_beside_the_numbers_and_a_failing_one_is_open():
    held, broken = Identity("halves sum to the whole", 1e-7, 1e-5), Identity("twice is double", 0.5, 1e-5)
    for identities, said, is_open in (
        ((held,), "1 of 1 identity holds", False),
        ((held, broken), "1 of 2 identities hold", True),
    ):
        page = page_of(panel(replace(fake(), identities=identities)))
        assert any(said in text for text in page.text)
        assert "✓ holds." in page.text
        assert ("✗ fails." in page.text) is is_open
        backing = next(attributes for tag, attributes in page.tags if attributes.get("class") == "backing")
        assert ("open" in backing) is is_open
    assert embedded(page, "data")[0]["parts"][0]["result"]["identities"][1]["holds"] is False


def test_every_link_of_the_contents_has_its_section(built):
    page = Page(html(built))
    targets = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert targets == [f"#{name}" for name in ids]
    assert len(ids) > 4


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


def test_a_model_that_predicts_another_vocabulary_has_a_report(model_folder):
    model = order_one_model(d_vocab_out=5)
    report = build(model, resolved(str(model_folder)), Prompts(random_tokens(length=8), "random tokens"))
    failures = {panel.name: part.failure for panel in report.panels for part in panel.parts if part.failure}
    assert failures == {}
    reasons = {panel.name: panel.parts[0].not_applicable for panel in report.panels if panel.not_asked}
    assert {"initialisation", "logit-lens", "attribution", "ablation"} <= set(reasons)
    assert {"heads", "circuits", "depth"}.isdisjoint(reasons)
    assert "it predicts another vocabulary than it reads" in "".join(Page(html(report)).text)
