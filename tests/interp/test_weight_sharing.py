import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.weight_sharing import direct_path, own_on_top, shared_directions


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 13), st.integers(1, 9), st.integers(0, 99))
def test_every_number_is_that_of_the_dense_matrix(d_vocab, d_model, seed):
    W_E, W_U = normal(d_vocab, d_model, seed=seed), normal(d_model, d_vocab, seed=seed + 1)
    dense, path = W_E @ W_U, direct_path(W_E, W_U)
    others = ~torch.eye(d_vocab, dtype=torch.bool)
    torch.testing.assert_close(path.own, dense.diagonal())
    assert math.isclose(path.others_mean, dense[others].mean(), rel_tol=1e-9, abs_tol=1e-12)
    assert math.isclose(path.others_rms, dense[others].square().mean().sqrt(), rel_tol=1e-7, abs_tol=1e-7)
    assert math.isclose(path.diagonal_share, dense.diagonal().square().sum() / dense.square().sum(), rel_tol=1e-9)
    symmetric = (dense + dense.T) / 2
    assert math.isclose(path.symmetric_share, symmetric.square().sum() / dense.square().sum(), rel_tol=1e-9)
    eigenvalues = torch.linalg.eigvals(dense)
    assert math.isclose(path.eigenvalues.abs().sum(), eigenvalues.abs().sum(), rel_tol=1e-4, abs_tol=1e-4)
    expected = eigenvalues.sum().real / eigenvalues.abs().sum()
    assert math.isclose(path.positivity, expected, rel_tol=1e-4, abs_tol=1e-4)


def test_a_shared_matrix_is_symmetric_and_has_no_negative_eigenvalue():
    W_E = normal(17, 5)
    path = direct_path(W_E, W_E.T)
    assert math.isclose(path.symmetric_share, 1, rel_tol=1e-12)
    assert math.isclose(path.positivity, 1, rel_tol=1e-12)
    torch.testing.assert_close(path.eigenvalues.real.sort().values, torch.linalg.svdvals(W_E).square().sort().values)
    assert direct_path(W_E, -W_E.T).positivity == pytest.approx(-1)
    assert direct_path(W_E, normal(5, 17, seed=1)).symmetric_share == pytest.approx(0.5, abs=0.2)


def test_tokens_that_raise_themselves_most_are_found():
    W_E, W_U, rows = normal(17, 5), normal(5, 17, seed=1), torch.tensor([0, 3, 16])
    assert own_on_top(W_E, W_U, rows).tolist() == [(W_E @ W_U)[row].argmax() == row for row in rows]
    assert own_on_top(torch.eye(5), torch.eye(5), torch.arange(5)).all()
    assert not own_on_top(torch.eye(5), -torch.eye(5), torch.arange(5)).any()


def test_cosines_of_pairs_are_those_of_every_pair_counted_one_by_one():
    W_E, W_U = normal(11, 4), normal(4, 11, seed=1)
    cosines = torch.nn.functional.cosine_similarity(W_E[:, None], W_U.T[None], dim=-1)
    others = cosines[~torch.eye(11, dtype=torch.bool)]
    found = shared_directions(W_E, W_U)
    torch.testing.assert_close(found.own, cosines.diagonal())
    assert math.isclose(found.others_mean, others.mean(), rel_tol=1e-9)
    assert math.isclose(found.others_std, others.std(correction=0), rel_tol=1e-9)


def test_a_token_without_a_direction_is_left_out_of_the_pairs():
    W_E, W_U = normal(11, 4), normal(4, 11, seed=1)
    whole = shared_directions(W_E[1:], W_U[:, 1:])
    W_E[0] = 0
    found = shared_directions(W_E, W_U)
    assert found.own.isnan().tolist() == [True] + 10 * [False]
    assert math.isclose(found.others_mean, whole.others_mean, rel_tol=1e-12)
    assert math.isclose(found.others_std, whole.others_std, rel_tol=1e-12)
