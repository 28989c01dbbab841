"""Tasks from files: what is written is what is read, and what is not understood is refused by row."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from interp.errors import TaskFileError
from interp.tasks import Pair, read_task

from ..conftest import order_one_model
from .task_models import gpt2_model

ROW = {"clean": "the cat, sat", "corrupted": "the dog, sat", "answer": " on", "wrong": " under"}

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=6)


def written(folder: Path, content: Any, name: str = "mine.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8", newline="")
    return path


def test_json_is_read_as_it_is_written(tmp_path):
    rows = [
        {**ROW, "template": "sat"},
        {"clean": [1, 2], "corrupted": [1, 3], "answer": 4, "wrong": [5, 6], "template": "ids"},
        {**ROW, "answer": [" on", " at"], "template": "sat"},
    ]
    task = read_task(written(tmp_path, rows))
    assert task.pairs == (
        Pair("the cat, sat", "the dog, sat", " on", " under", "sat"),
        Pair((1, 2), (1, 3), 4, (5, 6), "ids"),
        Pair("the cat, sat", "the dog, sat", (" on", " at"), " under", "sat"),
    )
    assert (task.name, task.source) == ("mine", "mine.json")
    assert read_task(tmp_path / "mine.json", name="other").name == "other"


def test_csv_is_read_with_its_quotes_spaces_and_any_order_of_columns(tmp_path):
    # The mark at the beginning is a spreadsheet's, and so are its line ends.
    text = '\ufeffwrong,answer,corrupted,clean\r\n under, on,"the dog, sat","the cat, sat"\r\n\r\n'
    assert read_task(written(tmp_path, text, "mine.CSV")).pairs == (Pair(**ROW),)


@settings(max_examples=20, deadline=None)
@example(rows=[("a\r\nb", "a\rb", " ", "\n", '",')])
@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT), min_size=1, max_size=3))
def test_both_forms_give_back_any_text(rows, tmp_path_factory):
    folder, keys = tmp_path_factory.mktemp("files"), ("clean", "corrupted", "answer", "wrong", "template")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([keys, *rows])
    written(folder, [dict(zip(keys, row, strict=True)) for row in rows], "a.json")
    expected = tuple(Pair(*row) for row in rows)
    assert read_task(folder / "a.csv").pairs == read_task(folder / "a.json").pairs == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "mine.json has no prompts"),
        ("", "mine.json has no prompts"),
        ("[{", "mine.json is not JSON: .*line 1"),
        (ROW, "must be a list of objects with 'clean', .*, not a single object"),
        ([ROW, "text"], "row 2 must be an object with .*, not a text"),
        ([ROW, {**ROW, "anwser": "x"}], "row 2: 'anwser' is not known. Did you mean 'answer'"),
        (
            [{**ROW, "zzz": "x"}],
            "row 1: 'zzz' is not known. Known are 'clean', 'corrupted', 'answer', 'wrong', 'template'",
        ),
        ([ROW, {"clean": "a", "corrupted": "b"}], "row 2 lacks 'answer', 'wrong'"),
        ([{**ROW, "clean": ""}], "row 1 lacks 'clean'"),
        ([{**ROW, "answer": []}], "row 1 lacks 'answer'"),
        ([{**ROW, "wrong": None}], "row 1 lacks 'wrong'"),
        ([{**ROW, "clean": 3}], "row 1: clean must be text or a list of token ids, not number"),
        ([{**ROW, "clean": [1, "a"]}], "row 1: clean must be .*, not list of number, text"),
        ([{**ROW, "answer": [" a", 1]}], "row 1: answer must be a text or a token id, or a list of one kind"),
        ([{**ROW, "answer": [" a", ""]}], "row 1: answer must be"),
        ([{**ROW, "answer": 1.5}], "row 1: answer must be .*, not number"),
        ([{**ROW, "answer": True}], "row 1: answer must be .*, not true or false"),
        ([{**ROW, "template": 3}], "row 1: template must be text, not number"),
        (
            '[{"clean": "a", "clean": "b", "corrupted": "c", "answer": "d", "wrong": "e"}]',
            "row 1: 'clean' comes 2 times",
        ),
    ],
)
def test_json_that_is_not_understood_is_refused(content, message, tmp_path):
    with pytest.raises(TaskFileError, match=message):
        read_task(written(tmp_path, content))
    read_task(written(tmp_path, [ROW]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "mine.csv has no prompts"),
        ("clean,corrupted,answer,wrong\n", "mine.csv has no prompts"),
        ("clean,corrupted,answer\na,b,c\n", "mine.csv lacks the column 'wrong'; it has 'clean', 'corrupted', 'answer'"),
        ("clean,corupted,answer,wrong\na,b,c,d\n", "header: 'corupted' is not known. Did you mean 'corrupted'"),
        ("clean;corrupted;answer;wrong\na;b;c;d\n", "header: 'clean;corrupted;answer;wrong' is not known"),
        ("clean,clean,corrupted,answer,wrong\na,a,b,c,d\n", "header: 'clean' comes 2 times"),
        ("clean,corrupted,answer,wrong\na,b,c,d\na,b,,d\n", "row 2 lacks 'answer'"),
        ("clean,corrupted,answer,wrong\na,b,c,d\na, and,b,c,d\n", "row 2 has 5 values and the header 4"),
        ("clean,corrupted,answer,wrong\na,b,c\n", "row 1 has 3 values and the header 4"),
        ('clean,corrupted,answer,wrong\n"a,b,c,d\n', "mine.csv is not CSV: unexpected end of data"),
    ],
)
def test_csv_that_is_not_understood_is_refused(content, message, tmp_path):
    with pytest.raises(TaskFileError, match=message):
        read_task(written(tmp_path, content, "mine.csv"))
    read_task(written(tmp_path, "clean,corrupted,answer,wrong\na,b,c,d\n", "mine.csv"))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(TaskFileError, match=r"ends in \.json or \.csv; 'mine\.txt' does not"):
        read_task(written(tmp_path, [ROW], "mine.txt"))
    (tmp_path / "mine.json").write_bytes(b'[{"clean": "\xff"}]')
    with pytest.raises(TaskFileError, match=r"mine\.json is not text in UTF-8"):
        read_task(tmp_path / "mine.json")
    with pytest.raises(FileNotFoundError):
        read_task(tmp_path / "none.json")


def test_a_file_of_token_ids_needs_no_tokenizer(tmp_path):
    rows = [{"clean": [1, 2, 3], "corrupted": [1, 4, 3], "answer": [5, 6], "wrong": 7}]
    pairs = read_task(written(tmp_path, rows)).on(order_one_model())
    assert (pairs.clean.tolist(), pairs.answer_sets, pairs.wrong_sets) == ([[1, 2, 3]], ((5, 6),), ((7,),))


def test_published_prompts_of_greater_than_are_read_once_their_columns_are_named(shared, tmp_path):
    with (shared / "data" / "interp-tasks" / "greater_than_eapig.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:40]
    with pytest.raises(TaskFileError, match="header: 'label' is not known"):
        read_task(shared / "data" / "interp-tasks" / "greater_than_eapig.csv")
    named = [
        {"clean": row["clean"], "corrupted": row["corrupted"], "answer": row["label"], "wrong": "00"} for row in rows
    ]
    pairs = read_task(written(tmp_path, named)).on(gpt2_model(shared))
    assert len(pairs) == 40
    assert [text[0] for text in pairs.answer_texts] == [row["label"] for row in rows]
    assert bool(((pairs.clean != pairs.corrupted).sum(dim=1) == 1).all())
