import torch
from torch.testing import assert_close

from tests.conftest import order_one_model, random_tokens


def test_fused_and_materialised_attention_give_the_same_logits():
    model, tokens = order_one_model(), random_tokens()
    logits, _ = model.run_with_cache(tokens)
    assert_close(logits, model(tokens))


def test_logits_of_a_prefix_do_not_depend_on_what_follows():
    model, tokens = order_one_model(), random_tokens()
    assert torch.equal(model(tokens)[:, :4].argmax(-1), model(tokens[:, :4]).argmax(-1))
    assert_close(model(tokens)[:, :4], model(tokens[:, :4]))
