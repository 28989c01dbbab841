"""Logits in two chunks, with keys and values kept between them, are the logits at once."""

import pytest
import torch
from torch.testing import assert_close
from transformer_lens import TransformerLensKeyValueCache

from models.errors import InputError
from tests.conftest import order_one_model, random_tokens
from tests.models.test_generate import VARIANTS

CACHED = {name: changes for name, changes in VARIANTS.items() if name != "ungrouped"}


def empty_cache(model, batch):
    return TransformerLensKeyValueCache.init_cache(model.cfg, "cpu", batch)


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("cut", [1, 4, 6])
@pytest.mark.parametrize("changes", CACHED.values(), ids=CACHED)
def test_two_chunks_are_the_whole(changes, cut, observed):
    model, tokens = order_one_model(**changes), random_tokens()
    past = empty_cache(model, 3)

    def logits(tokens):
        # The materialised pattern and the fused kernel have masks of their own.
        return model.run_with_cache(tokens, past_kv_cache=past)[0] if observed else model(tokens, past_kv_cache=past)

    chunks = torch.cat([logits(tokens[:, :cut]), logits(tokens[:, cut:])], dim=1)
    assert_close(chunks, model(tokens))
    assert past[0].past_keys.shape[1] == past[1].past_values.shape[1] == 7


@pytest.mark.parametrize("changes", CACHED.values(), ids=CACHED)
def test_padded_rows_in_two_chunks_are_each_row_alone(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    padding = [0, 2, 3]
    mask = torch.tensor([[0] * n + [1] * (7 - n) for n in padding])
    past = empty_cache(model, 3)
    model(tokens[:, :4], attention_mask=mask[:, :4], past_kv_cache=past)
    second = model(tokens[:, 4:], attention_mask=mask[:, 4:], past_kv_cache=past)
    for row, n in enumerate(padding):
        assert_close(second[row], model(tokens[row : row + 1, n:])[0, -3:])


def test_a_frozen_cache_serves_many_continuations():
    model, tokens = order_one_model(), random_tokens()
    past = empty_cache(model, 3)
    model(tokens[:, :4], past_kv_cache=past)
    past.freeze()
    for seed in (1, 2):
        end = random_tokens(length=3, seed=seed)
        whole = torch.cat([tokens[:, :4], end], dim=1)
        assert_close(model(end, past_kv_cache=past), model(whole)[:, 4:])
        assert past[0].past_keys.shape[1] == 4
    past.unfreeze()
    model(tokens[:, 4:], past_kv_cache=past)
    assert past[1].past_keys.shape[1] == 7


def test_a_cache_that_does_not_fit_is_refused():
    tokens = random_tokens()
    for changes, complaint in [
        ({"attention_dir": "bidirectional"}, "no cache"),
        ({"n_key_value_heads": 2, "ungroup_grouped_query_attention": True}, r"\[3, 2, 6\], not \[3, 4, 6\]"),
    ]:
        model = order_one_model(**changes)
        with pytest.raises(InputError, match=complaint):
            model(tokens, past_kv_cache=empty_cache(model, 3))
    model = order_one_model()
    with pytest.raises(InputError, match=r"\[2, 4, 6\], not \[3, 4, 6\]"):
        model(tokens, past_kv_cache=empty_cache(model, 2))
    assert model(tokens, past_kv_cache=empty_cache(model, 3)).isfinite().all()
