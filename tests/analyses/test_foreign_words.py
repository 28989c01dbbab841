"""A model is loaded without the bars and the advice of `transformers`, and its errors come through."""

import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from analyses.foreign_words import without_foreign_words
from tests.models.loading.architectures import tiny


def test_bars_and_advice_are_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny("llama").save_pretrained(tmp_path)
    capfd.readouterr()
    AutoModelForCausalLM.from_pretrained(tmp_path)
    assert "Loading weights" in capfd.readouterr().err
    before = logging.get_verbosity()
    with without_foreign_words():
        AutoModelForCausalLM.from_pretrained(tmp_path)
        logging.get_logger("transformers").warning("this is faster")
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == before
    print("still heard", file=sys.stderr)
    assert capfd.readouterr().err == "still heard\n"


def test_errors_come_through(tmp_path: Path) -> None:
    before = logging.get_verbosity()
    with pytest.raises(ValueError, match="Unrecognized model"), without_foreign_words():
        AutoModelForCausalLM.from_pretrained(tmp_path)
    assert logging.get_verbosity() == before
