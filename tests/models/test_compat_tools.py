"""TransformerLens' tools on our model, where theirs would fail: caches, singular vectors, evaluations, sampling."""

from inspect import signature

import pytest
import torch
import transformer_lens
from torch.testing import assert_close

from models.compat import ActivationCache, HookedTransformer, SVDInterpreter, evals
from models.errors import InputError
from tests.conftest import order_one, random_tokens, small_config


def model_of(**changes):
    return order_one(HookedTransformer(small_config(**changes)))


def test_a_cache_moves_with_its_model_if_asked_to():
    model = model_of()
    _, cache = model.run_with_cache(random_tokens(1))
    assert type(cache) is ActivationCache
    assert cache.to("cpu", move_model=False) is cache.to("cpu")
    stream = cache["resid_post", -1]
    assert cache.to("meta")["resid_post", -1].device.type == "meta"
    assert model.W_E.device.type == "cpu"
    _, cache = model.run_with_cache(random_tokens(1), remove_batch_dim=True)
    assert not cache.has_batch_dim
    assert_close(cache["resid_post", -1], stream[0])
    cache.to("meta", move_model=True)
    assert model.W_E.device.type == model.cfg.device == "meta"


def test_a_cache_that_was_not_asked_for_as_an_object_is_a_dictionary():
    _, cache = model_of().run_with_cache(random_tokens(), return_cache_object=False)
    assert type(cache) is dict


@pytest.mark.parametrize("changes", [{}, {"n_key_value_heads": 2}, {"tie_word_embeddings": True}])
def test_singular_vectors_are_those_of_each_heads_matrix(changes):
    model = model_of(**changes)
    svd = SVDInterpreter(model)
    found = svd.get_singular_vectors("OV", layer_index=1, head_index=3, num_vectors=4)
    matrix = (model.W_V[1, 3] @ model.W_O[1, 3]).detach()
    # Singular vectors are known but for their sign.
    expected = torch.linalg.svd(matrix).Vh[:4] @ model.W_U.detach()
    signs = (expected * found[:, 0].T).sum(1, keepdim=True).sign()
    assert_close(found[:, 0].T, signs * expected)
    assert found.shape == (17, 1, 4)
    with pytest.raises(AssertionError, match="Layer index"):
        svd.get_singular_vectors("OV", layer_index=2, head_index=3)


def test_the_loss_on_what_is_said_twice_is_measured_where_the_model_is():
    model = model_of(n_layers=1, n_ctx=12, d_vocab=20_001, d_mlp=5)
    torch.manual_seed(3)
    found = evals.induction_loss(model, subseq_len=5, batch_size=3, prepend_bos=False)
    torch.manual_seed(3)
    tokens = torch.randint(100, 20_000, (3, 5)).repeat(1, 2)
    assert_close(found, model(tokens, return_type="loss", loss_per_token=True)[:, 6:].mean())
    with pytest.raises(InputError, match="subseq_len of at most 6"):
        evals.induction_loss(model)
    with pytest.raises(InputError, match="up to 20000, and the vocabulary has 17"):
        evals.induction_loss(model_of(), subseq_len=3)


def test_a_data_set_is_measured_where_the_model_is():
    model, batches = model_of(), [{"tokens": random_tokens(seed=seed)} for seed in range(3)]
    losses = [model(batch["tokens"], return_type="loss").item() for batch in batches]
    assert evals.evaluate_on_dataset(model, batches) == pytest.approx(sum(losses) / 3)


def test_two_ways_to_cut_a_distribution_are_not_mixed_in_silence():
    model = model_of(n_ctx=20)
    with pytest.raises(InputError, match=r"top_k=5 and top_p=0.9 exclude one another"):
        model.generate(random_tokens(1), top_k=5, top_p=0.9, stop_at_eos=False)
    assert model.generate(random_tokens(1), top_k=5, stop_at_eos=False).shape == (1, 17)


def test_names_of_our_own_stand_for_transformer_lens_classes():
    assert issubclass(ActivationCache, transformer_lens.ActivationCache)
    assert issubclass(SVDInterpreter, transformer_lens.SVDInterpreter)


def test_options_of_generation_are_heard_warned_of_or_refused():
    model, tokens, greedy = model_of(n_ctx=20), random_tokens(2), {"do_sample": False, "stop_at_eos": False}
    plain = model.generate(tokens, **greedy)
    with pytest.warns(UserWarning, match=r"freq_penalty=1.5 has no effect without sampling") as said:
        assert torch.equal(model.generate(tokens, **greedy, freq_penalty=1.5), plain)
    assert said[0].filename == __file__
    with pytest.warns(UserWarning, match="repetition_penalty, return_dict_in_generate: without effect"):
        same = model.generate(tokens, **greedy, repetition_penalty=1.2, return_dict_in_generate=True)
    assert torch.equal(same, plain)
    with pytest.raises(InputError, match=r"model\(tokens\)\[:, n - 1 : -1\]"):
        model.generate(tokens, **greedy, output_logits=True)
    assert torch.equal(model(plain)[:, tokens.shape[1] - 1 : -1].argmax(-1), plain[:, tokens.shape[1] :])
    assert torch.equal(model.generate(tokens, **greedy, output_logits=False), plain)
    with pytest.raises(InputError, match=r"generate takes no temprature\. Did you mean 'temperature'"):
        model.generate(tokens, **greedy, temprature=2)


def test_embeddings_come_out_of_generation_and_do_not_go_in():
    model, tokens = model_of(n_ctx=20), random_tokens(2)
    embeddings = model.generate(tokens, do_sample=False, stop_at_eos=False, return_type="embeds")
    assert_close(embeddings, model.W_E[model.generate(tokens, do_sample=False, stop_at_eos=False)])
    with pytest.raises(InputError, match=r"not embeddings.*input_to_embed"):
        model.generate(embeddings, stop_at_eos=False)


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("generate", "input max_new_tokens stop_at_eos eos_token_id do_sample top_k top_p temperature freq_penalty"),
        ("run_with_cache", "model_args names_filter device remove_batch_dim incl_bwd reset_hooks_end"),
        ("get_caching_hooks", "names_filter incl_bwd device remove_batch_dim cache pos_slice"),
        ("add_hook", "name hook dir is_permanent level prepend"),
    ],
)
def test_signatures_say_the_parameters_in_the_order_of_transformer_lens(method, names):
    assert list(signature(getattr(HookedTransformer, method)).parameters)[1:][: len(names.split())] == names.split()
