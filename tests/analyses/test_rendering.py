import json

import numpy as np
import pandas as pd
import pytest

from analyses.errors import InvalidResultError
from analyses.rendering import as_dict, as_json, as_text, number, require_valid, save, written
from analyses.result import Result
from analyses.token_text import legible, plotly_label, visible


def result(**numbers):
    table = pd.DataFrame({"token": ["a", "b"], "loss_nats": [0.5, np.nan]})
    return Result("fake", "Fake", "Is it?", "It is.", numbers, {"By token: all": table})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1 / 3, "0.3333"),
        (-1.5e-12, "-1.5e-12"),
        (12345678, "12345678"),
        (np.int64(7), "7"),
        (np.float32(0.5), "0.5"),
        (True, "yes"),
        (float("nan"), "–"),
        (float("-inf"), "–"),
        (None, "–"),
        (pd.NA, "–"),
        ("a\nb", "a⏎b"),
    ],
)
def test_a_number_as_a_reader_wants_it(value, shown):
    assert number(value) == shown


def test_json_has_null_where_there_is_no_number_and_full_precision_where_there_is():
    document = json.loads(as_json(as_dict(result(third=1 / 3, none=float("inf")))))
    assert document["numbers"] == {"third": 1 / 3, "none": None}
    assert document["tables"]["By token: all"] == [{"token": "a", "loss_nats": 0.5}, {"token": "b", "loss_nats": None}]


def test_a_headline_must_be_finite_and_a_cell_need_not():
    require_valid(result(size=1, name="x", loss=0.5))
    with pytest.raises(InvalidResultError, match="fake: mean loss is nan"):
        require_valid(result(mean_loss=float("nan")))


def test_a_saved_result_reads_back_and_leaves_nothing_half_written(tmp_path):
    files = save(result(size=1), {"seed": 0}, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fake.by-token-all.csv", "fake.json"]
    assert json.loads(files[0].read_text())["manifest"] == {"seed": 0}
    pd.testing.assert_frame_equal(pd.read_csv(files[1]), result().tables["By token: all"])
    (tmp_path / "there").mkdir()
    with pytest.raises(OSError, match="there"):
        written(tmp_path / "there", "text")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_lone_surrogate_does_not_cost_the_result(tmp_path):
    assert written(tmp_path / "x", "a\udcffb").read_bytes() == b"a\\udcffb"


def test_a_long_table_says_on_the_terminal_how_much_is_left_out():
    long = Result("f", "F", "?", "!", {}, {"t": pd.DataFrame({"i": range(20)})})
    assert "… 8 more rows" in as_text(long)
    assert "more rows" not in as_text(result())


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("", "∅"),
        (" the", "·the"),
        ("  ", "··"),
        ("\n\t", "⏎⇥"),
        ("\u202eabc", "\\u202eabc"),
        ("\x1b[31m", "\\u001b[31m"),
        ("שלום", "שלום"),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_a_token_is_visible_whatever_it_contains(token, shown):
    assert visible(token) == shown


def test_labels_for_plotly_are_markup_that_reads_as_the_text():
    assert plotly_label("<b>&amp;") == "&lt;b&gt;&amp;amp;"
    assert legible("<b>&amp;") == "<b>&amp;"
