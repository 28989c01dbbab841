import pytest
import torch

from interp.low_rank import effective_rank
from interp.weight_spectra import random_rank, spectrum


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (6, 6)])
def test_a_spectrum_is_that_of_the_singular_values(shape):
    matrix = normal(*shape)
    values = torch.linalg.svdvals(matrix)
    found = spectrum(matrix)
    assert found.norm == pytest.approx(float(matrix.norm()))
    assert found.largest == pytest.approx(float(values[0]))
    assert found.rank == pytest.approx(float(effective_rank(values)))
    assert found.identity_error < 1e-12


def test_the_identity_has_full_rank_and_an_outer_product_one():
    assert spectrum(torch.eye(16)).rank == pytest.approx(16)
    assert spectrum(normal(9, 1) @ normal(1, 5, seed=1)).rank == pytest.approx(1, abs=1e-5)
    zero = spectrum(torch.zeros(3, 4))
    assert (zero.norm, zero.largest, zero.identity_error) == (0, 0, 0)
    assert zero.rank != zero.rank


def test_a_random_matrix_comes_near_its_full_rank_the_longer_it_is():
    ranks = [random_rank(rows, 20) for rows in (20, 80, 2000)]
    assert ranks == sorted(ranks)
    assert ranks[0] == pytest.approx(random_rank(20, 20))
    assert ranks[-1] == pytest.approx(20, rel=0.01)
    assert ranks[0] < 18
    drawn = spectrum(normal(80, 20, seed=5)).rank
    assert drawn == pytest.approx(ranks[1], rel=0.02)
