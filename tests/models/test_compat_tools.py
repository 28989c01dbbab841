"""TransformerLens' tools on our model, where theirs would fail: caches, singular vectors, evaluations, sampling."""

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
