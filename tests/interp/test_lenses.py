import pytest
import torch
from torch.distributions import Categorical
from torch.distributions.kl import kl_divergence as kl_of_distributions

from interp.errors import NonFiniteError, TokensError
from interp.lenses import kl_divergence, lens_logits, logit_lens, stream_sites

from ..conftest import order_one_model, random_tokens


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalization_type": "RMS"},
        {"normalization_type": None},
        {"norm_placement": "post"},
        {"output_logits_soft_cap": 3.0},
        {"attn_only": True},
        {"parallel_attn_mlp": True},
    ],
)
def test_the_lens_after_the_last_block_is_the_model(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    readings = logit_lens(model, tokens)
    assert readings.end_difference == 0
    assert readings.sites[-1] == "blocks.1.hook_resid_post"
    loss = model(tokens, return_type="loss")
    torch.testing.assert_close(-readings.next_log_prob[-1].mean(), loss)
    # The distributions are the same, and a difference of zero is no accident of comparing nothing.
    assert float(readings.kl[-1].abs().max()) < 1e-12
    assert float(readings.kl[0].min()) > 1e-3


def test_the_lens_ignores_the_scale_and_a_constant_shift_of_the_stream():
    model = order_one_model(eps=0.0)
    stream = torch.randn(2, 3, model.cfg.d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(lens_logits(model, 3.7 * stream + 1.9), lens_logits(model, stream))
    assert not torch.allclose(lens_logits(model, stream + stream.flip(-1)), lens_logits(model, stream))


def test_every_site_of_the_stream_is_read_in_order():
    assert stream_sites(order_one_model()) == (
        "blocks.0.hook_resid_pre",
        "blocks.0.hook_resid_mid",
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_mid",
        "blocks.1.hook_resid_post",
    )
    assert len(stream_sites(order_one_model(attn_only=True))) == 3


def test_rank_and_logit_belong_to_the_next_token():
    model, tokens = order_one_model(), random_tokens()
    readings = logit_lens(model, tokens)
    logits = model(tokens)
    for row, position in [(0, 0), (2, 4)]:
        target = tokens[row, position + 1]
        order = logits[row, position].argsort(descending=True).tolist()
        assert readings.next_rank[-1, row, position] == order.index(target)
        assert readings.top_token[-1, row, position] == order[0]
        torch.testing.assert_close(readings.next_logit[-1, row, position], logits[row, position, target])
        torch.testing.assert_close(
            readings.next_log_prob[-1, row, position], logits[row, position].log_softmax(-1)[target]
        )


def test_kl_divergence_is_that_of_torch_distributions_and_has_a_direction():
    p, q = torch.randn(2, 5, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = kl_of_distributions(Categorical(logits=p), Categorical(logits=q))
    torch.testing.assert_close(kl_divergence(p, q), expected)
    assert not torch.allclose(kl_divergence(q, p), expected)
    assert bool((kl_divergence(p, q) >= 0).all())


def test_kl_is_from_the_model_to_the_lens():
    model, tokens = order_one_model(), random_tokens()
    _, cache = model.run_with_cache(tokens)
    early = lens_logits(model, cache["blocks.0.hook_resid_mid"])
    expected = kl_of_distributions(Categorical(logits=model(tokens)), Categorical(logits=early))
    torch.testing.assert_close(logit_lens(model, tokens).kl[1], expected)


def test_reading_a_stretch_at_a_time_changes_nothing():
    model, tokens = order_one_model(), random_tokens()
    whole, pieces = logit_lens(model, tokens), logit_lens(model, tokens, logits_at_once=3 * 17 * 2)
    torch.testing.assert_close(whole.kl, pieces.kl)
    torch.testing.assert_close(whole.next_log_prob, pieces.next_log_prob)
    assert torch.equal(whole.next_rank, pieces.next_rank)


def test_what_cannot_be_read_is_refused():
    model = order_one_model()
    with pytest.raises(TokensError, match=r"next token.*\[3, 1\]"):
        logit_lens(model, random_tokens(length=1))
    logit_lens(model, random_tokens(length=2))
    model.embed.W_E.data[0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"blocks\.0\.hook_resid_pre is not finite"):
        logit_lens(model, torch.zeros(1, 3, dtype=torch.long))
