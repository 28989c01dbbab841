"""The held-out loss: against the plain definition, and its standard error against resampling."""

import math

import pytest
import torch

from models.batches import HeldOutWindows, token_stream
from models.evaluation import held_out_loss, ratio, unigram_entropy
from tests.conftest import order_one_model

from .test_batches import DOCUMENTS, TOKENIZER


@pytest.fixture(scope="module")
def model():
    return order_one_model(d_vocab=265)


def test_it_is_the_mean_over_tokens_each_predicted_within_its_window(model):
    windows = HeldOutWindows.cut(TOKENIZER, DOCUMENTS, model.cfg.n_ctx)
    losses = []
    for document in DOCUMENTS:
        ids = TOKENIZER.encode(document.text).ids
        for start in range(0, len(ids), model.cfg.n_ctx - 1):
            row = torch.tensor([[0, *ids[start : start + model.cfg.n_ctx - 1]]])
            losses += (-model(row)[0, :-1].log_softmax(-1)[range(row.shape[1] - 1), row[0, 1:]]).tolist()
    measured = held_out_loss(model, windows)
    assert measured.nats_per_token.mean == pytest.approx(sum(losses) / len(losses), rel=1e-12)
    assert measured.n_tokens == len(losses)
    assert measured.n_documents == len(DOCUMENTS)
    n_bytes = sum(len(document.text.encode()) for document in DOCUMENTS)
    assert measured.bits_per_byte.mean == pytest.approx(sum(losses) / math.log(2) / n_bytes, rel=1e-12)


def test_the_standard_error_is_that_of_resampled_documents():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(50, 150, (400,), generator=generator).double()
    totals = sizes * (3 + torch.randn(400, generator=generator).double())
    drawn = torch.randint(400, (4000, 400), generator=generator)
    bootstrap = (totals[drawn].sum(1) / sizes[drawn].sum(1)).std()
    estimate = ratio(totals, sizes)
    # The spread of 4000 resamples is itself known to 1/sqrt(8000) = 1.1%, that of 400 clusters to 3.5%.
    assert estimate.standard_error == pytest.approx(float(bootstrap), rel=0.08)


def test_equal_clusters_give_the_textbook_error():
    totals = torch.tensor([2.0, 4.0, 9.0, 5.0], dtype=torch.float64)
    estimate = ratio(totals, torch.full((4,), 2.0, dtype=torch.float64))
    assert estimate.mean == 2.5
    assert estimate.standard_error == pytest.approx(float(totals.std() / 2 / math.sqrt(4)), rel=1e-12)
    assert math.isnan(ratio(totals[:1], totals[:1]).standard_error)


def test_the_unigram_entropy_of_uniform_tokens_is_ln_v():
    windows = HeldOutWindows.cut(TOKENIZER, DOCUMENTS, 9)
    assert unigram_entropy(torch.arange(265).repeat(3), windows, 265) == pytest.approx(math.log(265), rel=1e-12)
    own = unigram_entropy(token_stream(TOKENIZER, DOCUMENTS), windows, 265)
    assert 0 < own < math.log(265)
