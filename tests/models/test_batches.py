"""Windows: every token is predicted once, and a batch is a function of the seed and the step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.batches import HeldOutWindows, TrainingWindows, seeded, token_stream
from models.corpus import Document
from models.errors import CorpusError
from models.tokenizer import END_OF_TEXT, train_tokenizer

DOCUMENTS = [Document(f"{k}.py", f"value_{k} = {k} * {k}\n" * (k + 1)) for k in range(7)]
TOKENIZER = train_tokenizer([document.text for document in DOCUMENTS], 265)


@given(st.integers(40, 90), st.integers(2, 9), st.integers(1, 4), st.integers(0, 5))
def test_an_epoch_reads_consecutive_windows_once_each(length, n_ctx, batch, seed):
    stream = torch.arange(length) + 1
    try:
        windows = TrainingWindows(stream, n_ctx, batch, seed, bos=0)
    except CorpusError:
        assert length // (n_ctx - 1) - 1 < batch
        return
    epoch = torch.cat([windows[step] for step in range(windows.batches_per_epoch)])
    assert (epoch[:, 0] == 0).all()
    read = epoch[:, 1:].flatten().tolist()
    assert len(set(read)) == len(read)
    assert (epoch[:, 2:] - epoch[:, 1:-1] == 1).all()
    # At most the shift, one window and an incomplete batch are left out.
    assert length - len(read) < (batch + 2) * (n_ctx - 1)


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    stream = torch.arange(500)
    one, same, other = (TrainingWindows(stream, 9, 3, seed, bos=0) for seed in (4, 4, 5))
    assert torch.equal(one[17], same[17])
    assert not torch.equal(one[17], other[17])
    first, second = (torch.stack([one[k + e * one.batches_per_epoch] for k in range(4)]) for e in (0, 1))
    assert not torch.equal(first, second)


def test_generators_of_different_purposes_have_nothing_in_common():
    draws = [torch.rand(4, generator=seeded(seed, purpose)) for seed, purpose in ((0, "a"), (0, "b"), (1, "a"))]
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(draws[0], torch.rand(4, generator=seeded(0, "a")))


def test_too_short_a_stream_is_refused():
    with pytest.raises(CorpusError, match="too few"):
        TrainingWindows(torch.arange(30), 11, 3, 0, bos=0)
    assert TrainingWindows(torch.arange(40), 11, 3, 0, bos=0).batches_per_epoch == 1


def test_the_stream_ends_every_document():
    stream = token_stream(TOKENIZER, DOCUMENTS)
    assert int((stream == 0).sum()) == len(DOCUMENTS)
    assert stream[-1] == 0
    assert TOKENIZER.decode(stream.tolist(), skip_special_tokens=False).split(END_OF_TEXT)[:-1] == [
        document.text for document in DOCUMENTS
    ]


@pytest.mark.parametrize("n_ctx", [2, 5, 64])
def test_held_out_windows_predict_every_token_once(n_ctx):
    windows = HeldOutWindows.cut(TOKENIZER, DOCUMENTS, n_ctx)
    assert windows.tokens.shape[1] == n_ctx
    assert (windows.tokens[:, 0] == 0).all()
    for index, document in enumerate(DOCUMENTS):
        rows = (windows.document == index).nonzero().flatten().tolist()
        predicted = [token for row in rows for token in windows.tokens[row, 1 : 1 + windows.n_predicted[row]].tolist()]
        assert predicted == TOKENIZER.encode(document.text).ids
        assert windows.n_bytes[index] == len(document.text.encode())
