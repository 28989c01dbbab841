import copy
import pickle

import torch
from torch.testing import assert_close

from tests.conftest import order_one_model, random_tokens


def test_a_tied_unembedding_is_one_parameter():
    model = order_one_model(tie_word_embeddings=True)
    names = dict(model.named_parameters())
    assert "unembed.W_U" not in names
    assert "unembed.W_U" not in model.state_dict()
    assert model.W_U.data_ptr() == names["embed.W_E"].data_ptr()
    assert sum(parameter.numel() for parameter in names.values()) + 12 * 17 == sum(
        parameter.numel() for parameter in order_one_model().parameters()
    )


def test_the_tie_follows_edits_of_the_embedding():
    model, tokens = order_one_model(tie_word_embeddings=True), random_tokens()
    with torch.no_grad():
        model.embed.W_E.mul_(2)
    stream = model(tokens, stop_at_layer=2)
    assert_close(model(tokens), model.ln_final(stream) @ model.embed.W_E.T + model.b_U)


def test_the_gradient_of_a_tied_matrix_is_the_sum_of_its_two_uses():
    tied, tokens = order_one_model(tie_word_embeddings=True), random_tokens()
    free = order_one_model()
    free.load_state_dict({**tied.state_dict(), "unembed.W_U": tied.W_U})
    for model in (tied, free):
        model(tokens, return_type="loss").backward()
    assert_close(tied.embed.W_E.grad, free.embed.W_E.grad + free.unembed.W_U.grad.T)


def test_an_optimiser_step_keeps_the_tie():
    model, tokens = order_one_model(tie_word_embeddings=True), random_tokens()
    before = model.W_U.clone()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(tokens, return_type="loss").backward()
    optimiser.step()
    assert torch.equal(model.W_U, model.W_E.T)
    assert not torch.equal(model.W_U, before)


def test_copies_are_tied_to_themselves_and_not_to_the_original():
    model, tokens = order_one_model(tie_word_embeddings=True), random_tokens()
    logits = model(tokens)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(tokens), logits)
        with torch.no_grad():
            copied.embed.W_E.zero_()
        assert copied.W_U.abs().max() == 0
        assert torch.equal(model(tokens), logits)


def test_moving_and_replacing_the_embedding_keeps_the_tie():
    model = order_one_model(tie_word_embeddings=True)
    model.float()
    assert model.W_U.dtype == torch.float32
    model.embed.W_E = torch.nn.Parameter(torch.ones(17, 12))
    assert torch.equal(model.W_U, torch.ones(12, 17))


def test_logits_are_the_stream_times_the_matrix_plus_the_bias():
    model, tokens = order_one_model(d_vocab_out=5), random_tokens()
    _, cache = model.run_with_cache(tokens)
    assert_close(cache["unembed.hook_out"], cache["unembed.hook_in"] @ model.W_U + model.b_U)
    assert cache["unembed.hook_out"].shape == (3, 7, 5)


def test_each_token_has_its_row():
    model = order_one_model()
    assert torch.equal(model.embed(torch.tensor([[3, 16]]))[0], model.W_E[[3, 16]])
