"""A small saved model whose tokens are everything that a page or a terminal could stumble over."""

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from analyses.catalogue import ANALYSES
from analyses.model_source import resolved
from analyses.prompts import Prompts
from analyses.report import build
from models.loading import folder
from tests.conftest import order_one_model, random_tokens

HOSTILE = ("<unk>", "</script>", "🙂", "\n", "שלום", "", " the", "<b>x</b>", "&amp;", "\u202e", "$x^2$", "%{x}")
PLAIN = ("one", "two", "three", "four", "five")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "tiny"
    model = order_one_model()
    vocabulary = {token: number for number, token in enumerate((*HOSTILE, *PLAIN))}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<unk>")
    model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    folder.save(model, place)
    (place / "sample.txt").write_text(" ".join(PLAIN * 12), encoding="utf-8")
    return place


@pytest.fixture(scope="session")
def built(model_folder):
    """The report on the small model, with every analysis in it."""
    source = resolved(str(model_folder))
    return build(source.load(), source, Prompts(random_tokens(length=8), "random tokens"))


@pytest.fixture
def one_analysis(monkeypatch):
    """Only the logit lens is in the catalogue: what a test needs that asks nothing of the analyses themselves."""
    for name in set(ANALYSES) - {"logit-lens"}:
        monkeypatch.delitem(ANALYSES, name)
