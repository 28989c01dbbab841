"""The report in headless Chromium with the network cut: it draws, says what the results say, and fits a phone."""

import io
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
from tests.analyses.test_report import headlines, same

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
def page_folder(report, tmp_path_factory):
    """The folder of the page; what it downloads goes into one within."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(html(report), encoding="utf-8")
    return folder


def started(profile, prefs):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", prefs)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="module")
def browser(page_folder):
    browser = started(page_folder / "profile", {"download.default_directory": str(page_folder / "downloads")})
    try:
        browser.set_script_timeout(60)
        browser.get((page_folder / "report.html").as_uri())
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def opened(browser):
    """The browser once every table is open, and so is written."""
    browser.execute_script("document.querySelectorAll('details.table').forEach((d) => { d.open = true; })")
    WebDriverWait(browser, 20).until(
        lambda b: b.execute_script(
            "return [...document.querySelectorAll('details.table')].every((d) => d.querySelector('table'))"
        )
    )
    return browser


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


def test_the_numbers_on_the_page_are_the_results(opened, report):
    browser = opened
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
        const plain = (values) => Array.from(values || [], (v) => (v && v.length !== undefined && typeof v !== "string"
            ? plain(v) : Number.isFinite(v) ? v : null));
        return [...document.querySelectorAll(".plot")].map((plot) =>
            plot._fullData.map((trace) => plain(trace[
                trace.type === "heatmap" ? "z" : trace.type === "bar" && trace.orientation === "h" ? "x" : "y"])));
    """)
    figures = [f for panel in report.panels for result in panel.results for f in result.figures.values()]
    for shown, figure in zip(drawn, figures, strict=True):
        for values, trace in zip(shown, figure.data, strict=True):
            if trace.visible is False:  # plotly decodes a trace when it is chosen
                continue
            across = trace.type == "bar" and trace.orientation == "h"
            wanted = np.asarray(trace.z if trace.type == "heatmap" else trace.x if across else trace.y, dtype=float)
            np.testing.assert_array_equal(np.array(values, dtype=np.float32), wanted.astype(np.float32))


def test_odd_tokens_are_shown_as_text(scrolled, opened):
    browser = opened
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


def sized(browser, width, height=800):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return window.innerWidth") == width


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out_of_the_page(browser, width):
    sized(browser, width)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [400, 1280])
def test_the_contents_lead_to_each_section_and_mark_the_one_in_view(browser, report, width):
    sized(browser, width)
    browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    links = browser.execute_script("return [...document.querySelectorAll('nav a')].map((link) => link.hash.slice(1))")
    unasked = ["not-asked"] if len(report.asked) < len(report.panels) else []
    assert links == ["summary", *(panel.name for panel in report.asked), *unasked, "manifest"]
    for name in links:
        browser.execute_script("document.querySelector(`nav a[href='#${arguments[0]}']`).click()", name)
        marked = WebDriverWait(browser, 10).until(lambda b, name=name: looked_at(b, name))
        assert marked[0] == f"#{name}"
        assert -1 <= marked[1] < 800
        assert marked[2] is (width > 1000)
        assert marked[3] is (width < 1000)


def looked_at(browser, name):
    """The marked link, how far down its section begins, whether the contents are open and tell the section's name."""
    found = browser.execute_script(
        """
        const link = document.querySelector("nav a[aria-current]"), here = document.querySelector("nav .here");
        const section = document.getElementById(arguments[0]);
        return [link.hash, section.getBoundingClientRect().top, document.querySelector("nav details").open,
                getComputedStyle(here).display !== "none" && here.textContent === link.textContent];
        """,
        name,
    )
    return found if found[0] == f"#{name}" else None


def test_the_button_turns_the_colours_of_page_and_figures(scrolled):
    sized(scrolled, 1280)
    colours = """
        const plot = document.querySelector("#logit-lens .plot");
        return [getComputedStyle(document.body).backgroundColor, plot._fullLayout.font.color,
                document.querySelector(".scheme").textContent];
    """
    before = scrolled.execute_script(colours)
    scrolled.execute_script("document.querySelector('.scheme').click()")
    after = WebDriverWait(scrolled, 10).until(
        lambda b: (lambda c: c if c[1] != before[1] else None)(b.execute_script(colours))
    )
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert sorted((before[2], after[2])) == ["Dark", "Light"]
    scrolled.execute_script("document.querySelector('.scheme').click()")
    WebDriverWait(scrolled, 10).until(lambda b: b.execute_script(colours) == before)
    assert scrolled.get_log("browser") == []


def downloaded(browser, folder, name):
    """What the page gave as a file, once it is whole."""
    place = folder / "downloads" / name
    WebDriverWait(browser, 20).until(lambda _: place.is_file() and place.stat().st_size)
    return place.read_text(encoding="utf-8")


def test_the_downloads_hold_the_numbers_of_the_panel(browser, report, page_folder):
    panel = next(panel for panel in report.panels if panel.name == "logit-lens")
    result = panel.results[0]
    browser.execute_script("document.querySelector('#logit-lens .downloads button').click()")
    document = json.loads(downloaded(browser, page_folder, "logit-lens.json"))
    assert document["manifest"]["weights_sha256"] == report.manifest["weights_sha256"]
    shown = document["parts"][0]["result"]
    assert shown["verdict"] == result.verdict
    assert shown["numbers"] == dict(result.numbers)
    for title, table in result.tables.items():
        assert list(shown["tables"][title][0]) == list(table.columns)
        for column in table.columns:
            got = [row[column] for row in shown["tables"][title]]
            assert all(map(same, got, table[column].tolist()[:ROWS]))
            assert len(got) == min(len(table), ROWS)


def test_a_table_is_downloaded_as_the_file_that_pandas_reads_back(browser, report, page_folder):
    table = report.panels[-1].results[0].tables["all"]
    browser.execute_script("document.querySelector('#odd details.table').open = true")
    WebDriverWait(browser, 10).until(
        lambda b: b.execute_script("return document.querySelector('#odd details.table button')")
    ).click()
    text = downloaded(browser, page_folder, "odd.all.csv")
    read = pd.read_csv(io.StringIO(text), keep_default_na=False, lineterminator="\n")
    assert read["token"].tolist() == table["token"].tolist()
    assert pd.to_numeric(read["value"]).tolist() == pytest.approx(table["value"].tolist(), nan_ok=True)
    plain = pd.DataFrame({"token": table["token"], "value": table["value"]}).to_csv(index=False)
    assert text.splitlines()[0] == plain.splitlines()[0]


def test_without_javascript_the_words_the_numbers_and_the_contents_are_there(page_folder, report):
    browser = started(page_folder / "plain", prefs={"profile.managed_default_content_settings.javascript": 2})
    try:
        browser.get((page_folder / "report.html").as_uri())
        seen = browser.find_element("css selector", "body").text
        assert "need JavaScript" in seen
        assert report.panels[0].title in seen
        links = browser.find_elements("css selector", "nav a")
        assert all(link.is_displayed() for link in links)
        links[-1].send_keys("\n")
        assert browser.current_url.endswith("#manifest")
        assert not browser.find_element("css selector", ".scheme").is_displayed()
    finally:
        browser.quit()
