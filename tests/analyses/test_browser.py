"""The report in headless Chromium with the network cut: it draws, says what the results say, and fits a phone."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analyses.rendering import number
from analyses.report import Panel, Part, html
from analyses.report.embedded import ROWS
from analyses.result import Result
from analyses.token_text import legible, visible
from tests.analyses.conftest import HOSTILE
from tests.analyses.test_report import headlines

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed, so no page is looked at")
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed, so no page is looked at"
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def hostile_panel():
    """Every odd token as a tick, a cell's text and a table's cell, and a heat map with a cell that has no value."""
    z = np.arange(float(2 * len(HOSTILE))).reshape(2, -1)
    z[1, 3] = np.nan
    labels = [visible(token) for token in HOSTILE]
    figure = go.Figure(
        go.Heatmap(z=z, y=["first", "second"], text=[labels] * 2, texttemplate="%{text}", colorbar_title="nats")
    )
    figure.update_xaxes(title="token", tickvals=list(range(len(HOSTILE))), ticktext=labels)
    table = pd.DataFrame({"token": HOSTILE, "value": z[1]})
    result = Result("odd", "Odd tokens", "Are they text?", "Yes: </script>", {"n": 1}, {"all": table}, {"map": figure})
    return Panel("odd", (Part("", result),))


@pytest.fixture(scope="module")
def report(built):
    return replace(built, panels=(*built.panels, hostile_panel()))


@pytest.fixture(scope="module")
def browser(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(html(report), encoding="utf-8")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        browser.set_script_timeout(60)
        browser.get((folder / "report.html").as_uri())
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def scrolled(browser):
    """The browser once every figure has been near its window, and so is drawn."""
    before = browser.execute_script("return document.querySelectorAll('.plot[data-drawn]').length")
    browser.execute_async_script("""
        const done = arguments[0];
        const look = () => {
            const plot = document.querySelector(".plot:not([data-drawn])");
            if (!plot) return done();
            plot.scrollIntoView();
            setTimeout(look, 30);
        };
        look();
    """)
    assert before < len(browser.execute_script("return [...document.querySelectorAll('.plot')]"))
    return browser


def test_every_figure_is_drawn_without_an_error_and_without_asking_the_network(scrolled, report):
    browser = scrolled
    n_figures = sum(len(result.figures) for panel in report.panels for result in panel.results)
    drawn = browser.execute_script("""
        return [...document.querySelectorAll(".plot")].map((plot) =>
            plot.querySelectorAll("svg .trace, svg .heatmaplayer .hm").length);
    """)
    assert len(drawn) == n_figures > 2
    assert all(drawn)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert not [url for url in asked if url.startswith(("http", "ws"))]
    assert any(url.endswith("report.html") for url in asked)


def test_the_numbers_on_the_page_are_the_results(browser, report):
    browser.execute_script("document.querySelectorAll('details.table').forEach((d) => { d.open = true; })")
    WebDriverWait(browser, 20).until(
        lambda b: b.execute_script(
            "return [...document.querySelectorAll('details.table')].every((d) => d.querySelector('table'))"
        )
    )
    for panel in report.asked:
        shown = browser.execute_script(
            """
            const panel = document.getElementById(arguments[0]);
            const texts = (place) => [...place.querySelectorAll("td")].map((td) => td.textContent);
            return [[...panel.querySelectorAll(".numbers data")].map((d) => d.value),
                    [...panel.querySelectorAll("details.table")].map(texts)];
            """,
            panel.name,
        )
        assert [json.loads(text) for text in shown[0]] == [v for result in panel.results for v in headlines(result)]
        tables = [table for result in panel.results for table in result.tables.values()]
        for texts, table in zip(shown[1], tables, strict=True):
            assert texts == [number(v) for row in table.head(ROWS).itertuples(index=False) for v in row]


def test_the_figures_draw_the_numbers_of_the_results(scrolled, report):
    """What plotly holds after drawing, decoded by the browser, against the figure that the analysis returned."""
    drawn = scrolled.execute_script("""
        const plain = (values) => Array.from(values, (v) => (v && v.length !== undefined && typeof v !== "string"
            ? plain(v) : Number.isFinite(v) ? v : null));
        return [...document.querySelectorAll(".plot")].map((plot) =>
            plot._fullData.map((trace) => plain(trace[
                trace.type === "heatmap" ? "z" : trace.type === "bar" && trace.orientation === "h" ? "x" : "y"])));
    """)
    figures = [f for panel in report.panels for result in panel.results for f in result.figures.values()]
    for shown, figure in zip(drawn, figures, strict=True):
        for values, trace in zip(shown, figure.data, strict=True):
            across = trace.type == "bar" and trace.orientation == "h"
            wanted = np.asarray(trace.z if trace.type == "heatmap" else trace.x if across else trace.y, dtype=float)
            np.testing.assert_array_equal(np.array(values, dtype=np.float32), wanted.astype(np.float32))


def test_odd_tokens_are_shown_as_text(scrolled):
    browser = scrolled
    labels = browser.execute_script("""
        return [...document.querySelectorAll("#odd .xtick text")].map((label) => label.textContent)
    """)
    assert labels == [visible(token) for token in HOSTILE]
    cells = browser.execute_script("return [...document.querySelectorAll('#odd td bdi')].map((c) => c.textContent)")
    assert cells == [legible(token) for token in HOSTILE]
    inside = browser.execute_script(
        "return [...document.querySelectorAll('#odd .heatmaplayer text')].map((c) => c.textContent)"
    )
    assert {text for text in labels if len(text) <= 7} <= set(inside)
    assert "</scri…" in inside


def test_a_cell_without_value_is_hatched_and_not_drawn(scrolled):
    browser = scrolled
    fill = browser.execute_script(
        "return getComputedStyle(document.querySelector('#odd .plot.gapped .bglayer .bg')).fill"
    )
    assert "#hatch" in fill
    assert browser.execute_script("return document.querySelectorAll('#odd .plot.gapped').length") == 1


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out_of_the_page(browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
