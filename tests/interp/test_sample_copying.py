import pytest
import torch
from torch.testing import assert_close

from interp.sample_copying import copying_on_samples, direct_path_obstacle

from ..conftest import order_one_model
from .induction_model import induction_model


def different_tokens(n_sequences=3, length=7, d_vocab=17):
    noise = torch.rand(n_sequences, d_vocab, generator=torch.Generator().manual_seed(1))
    return noise.argsort(dim=1)[:, :length]


def test_a_head_that_raises_what_it_attends_to_scores_one_and_its_opposite_minus_one():
    model = induction_model()
    found = copying_on_samples(model, different_tokens(2, 6, 7), start=0)
    assert_close(found.values[:, 1, 0], torch.ones(2, dtype=torch.float64))
    # A head of zeros raises nothing at all, which is neither.
    assert found.values[:, 1, 1].isnan().all()
    model.blocks[1].attn.W_O.data.neg_()
    lowered = copying_on_samples(model, different_tokens(2, 6, 7), start=0)
    assert_close(lowered.values[:, 1, 0], -torch.ones(2, dtype=torch.float64))


def test_a_head_that_raises_all_tokens_of_the_sample_alike_scores_the_null():
    model, tokens = order_one_model(normalization_type=None), different_tokens(1)
    # The output raises the sample's own tokens by the same amount, whatever was attended to.
    model.unembed.W_U.data.zero_()
    model.unembed.W_U.data[0, tokens[0]] = 1.0
    for block in model.blocks:
        block.attn.W_V.data.zero_()
        block.attn.W_O.data[:, :, 0] = block.attn.b_V.data.sign()
    found = copying_on_samples(model, tokens, start=0)
    assert_close(found.null, torch.full((1, 2), 4 / 8 - 1, dtype=torch.float64))
    assert_close(found.values, found.null[..., None].expand(1, 2, 4))


@torch.no_grad()
@pytest.mark.parametrize(
    "changes", [{}, {"n_key_value_heads": 2}, {"normalization_type": None}, {"normalization_type": "RMS"}]
)
def test_the_score_is_that_of_every_pair_of_query_and_key_written_out(changes):
    model, tokens, start = order_one_model(**changes), different_tokens(2), 1
    found = copying_on_samples(model, tokens, start)
    _, cache = model.run_with_cache(tokens)
    layer, head, row = 1, 2, 1
    v = cache[f"blocks.{layer}.attn.hook_v"][row]
    v = v[:, head // (4 // v.shape[1])]
    own = every = 0.0
    for query in range(7):
        for key in range(start, query + 1):
            weight = cache["pattern", layer][row, head, query, key]
            written = weight * v[key] @ model.W_O[layer, head]
            if model.cfg.normalization_type == "LN":
                written = written - written.mean()
            logits = written @ model.W_U
            raises = (logits - logits.mean()).relu()
            own += float(raises[tokens[row, key]])
            every += float(raises[tokens[row, start:]].sum())
    expected = 4 * own / (own + every) - 1
    assert_close(float(found.values[row, layer, head]), expected)
    assert -1 < expected < 1


def test_what_the_direct_path_cannot_do_is_told():
    assert direct_path_obstacle(order_one_model()) is None
    assert "norm the stream" in direct_path_obstacle(order_one_model(norm_placement="post"))
    assert "output vocabulary" in direct_path_obstacle(order_one_model(d_vocab_out=5))
    both = order_one_model(use_normalization_before_and_after=True)
    assert "norm what the heads write" in direct_path_obstacle(both)
