"""The corpus: the same on every call, split by file, and without what nobody should learn."""

import ast
import sysconfig
from pathlib import Path

import pytest

from models.corpus import HELD_OUT_SHARE, Corpus, Document, is_held_out, repeated_share, standard_library
from models.errors import CorpusError


@pytest.fixture(scope="module")
def corpus():
    return standard_library()


def test_the_corpus_is_the_same_each_time(corpus):
    again = standard_library(Path(sysconfig.get_paths()["stdlib"]))
    assert again.train == corpus.train
    assert again.held_out == corpus.held_out
    assert again.sha256 == corpus.sha256


def test_no_document_is_in_both_parts(corpus):
    train, held_out = ({document.name for document in part} for part in (corpus.train, corpus.held_out))
    assert not train & held_out
    assert len(train) == len(corpus.train)
    assert len(held_out) == len(corpus.held_out)
    assert not {document.text for document in corpus.train} & {document.text for document in corpus.held_out}
    assert all(map(is_held_out, held_out))
    assert not any(map(is_held_out, train))


def test_about_the_share_that_was_asked_for_is_held_out():
    names = [f"module_{number}.py" for number in range(20_000)]
    share = sum(map(is_held_out, names)) / len(names)
    assert abs(share - HELD_OUT_SHARE) < 4 * (HELD_OUT_SHARE * (1 - HELD_OUT_SHARE) / len(names)) ** 0.5


def test_modules_and_help_topics_are_there_and_tests_and_tables_are_not(corpus):
    documents = {document.name: document.text for document in corpus.train + corpus.held_out}
    assert {"argparse.py", "json/decoder.py", "pydoc_data/topics.py#for"} <= documents.keys()
    assert '"for"' in documents["pydoc_data/topics.py#for"]
    assert not [name for name in documents if name.startswith(("test/", "site-packages/", "encodings/", "lib2to3/"))]
    assert not [name for name in documents if "/tests/" in name or "sysconfigdata" in name]
    ast.parse(documents["argparse.py"])


def test_the_hash_tells_texts_names_and_parts_apart(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("y = 2\n")
    first = standard_library(tmp_path)
    assert [document for document in first.train] == [Document("a.py", "x = 1\n"), Document("b.py", "y = 2\n")]
    (tmp_path / "b.py").write_text("y = 3\n")
    second = standard_library(tmp_path)
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    third = standard_library(tmp_path)
    moved = type(third)(third.source, third.train[:1], third.train[1:])
    assert len({corpus.sha256 for corpus in (first, second, third, moved)}) == 4


def test_a_folder_without_sources_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="holds no Python sources"):
        standard_library(tmp_path)
    (tmp_path / "a.py").write_text("x = 1\n")
    assert len(standard_library(tmp_path).train) == 1


def test_the_repeated_share_counts_passages_that_were_copied():
    lines = [f"line {k}\n" for k in range(24)]
    copied, new = "".join(lines[6:18]), "".join(f"new {line}" for line in lines[:12])
    train, held_out = (Document("a.py", "".join(lines)),), (Document("b.py", copied + "\n" + new),)
    assert repeated_share(Corpus("test", train, held_out)) == 0.5
    assert repeated_share(Corpus("test", train, ())) == 0.0


def test_help_topics_are_read_and_never_executed(tmp_path):
    (tmp_path / "pydoc_data").mkdir()
    topics = tmp_path / "pydoc_data" / "topics.py"
    topics.write_text("topics = {'b': 'The b.\\n', 'a': 'The a.\\n'}\n")
    names = [document.name for document in standard_library(tmp_path).train]
    assert names == ["pydoc_data/topics.py#a", "pydoc_data/topics.py#b"]
    assert is_held_out("pydoc_data/topics.py#if")
    topics.write_text("topics = {'if': 'The if.\\n', 'a': 'The a.\\n'}\n")
    assert [document.name for document in standard_library(tmp_path).train] == ["pydoc_data/topics.py#a"]
    assert standard_library(tmp_path).held_out == ()
    topics.write_text("raise SystemExit\n")
    with pytest.raises(CorpusError, match="does not assign a dictionary"):
        standard_library(tmp_path)
