import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.low_rank import effective_rank, product_eigenvalues, product_norm, product_singular_values, top_entries


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_singular_values_are_those_of_the_dense_product():
    left, right = normal(2, 9, 4), normal(2, 4, 7, seed=1)
    dense = torch.linalg.svdvals(left @ right)
    torch.testing.assert_close(product_singular_values(left, right), dense[:, :4])
    assert float(dense[:, 4:].max()) < 1e-13


def test_small_singular_values_are_not_lost():
    # Columns scaled over twelve decades: a Gram matrix would round everything below 1e-8 of the largest away.
    scales = 10.0 ** -torch.arange(0, 13, 4, dtype=torch.float64)
    left = torch.linalg.qr(normal(9, 4)).Q * scales
    right = torch.linalg.qr(normal(7, 4, seed=1)).Q.T
    torch.testing.assert_close(product_singular_values(left, right), scales, rtol=1e-3, atol=0)


def test_nonzero_eigenvalues_are_those_of_the_dense_product():
    left, right = normal(11, 3), normal(3, 11, seed=1)
    by_size = torch.linalg.eigvals(left @ right)
    by_size = by_size[by_size.abs().argsort(descending=True)]
    small = product_eigenvalues(left, right)
    assert float(by_size[3:].abs().max()) < 1e-13
    # The same set: every one of the three is within rounding of one of the three.
    distance = (small[:, None] - by_size[None, :3]).abs()
    assert float(distance.min(dim=0).values.max()) < 1e-12
    assert float(distance.min(dim=1).values.max()) < 1e-12
    torch.testing.assert_close(small.sum().real, (left @ right).trace())


def test_norm_is_that_of_the_dense_product_and_of_the_singular_values():
    left, right = normal(3, 8, 2), normal(3, 2, 6, seed=1)
    torch.testing.assert_close(product_norm(left, right), (left @ right).norm(dim=(-2, -1)))
    torch.testing.assert_close(product_norm(left, right), product_singular_values(left, right).norm(dim=-1))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 20), st.integers(1, 40), st.integers(0, 5))
def test_top_entries_are_those_of_the_dense_product(n_rows, n_columns, k, at_once, seed):
    left, right = normal(n_rows, 3, seed=seed), normal(3, n_columns, seed=seed + 1)
    k = min(k, n_rows * n_columns)
    found, dense = top_entries(left, right, k, entries_at_once=at_once), left @ right
    torch.testing.assert_close(found.values, dense.flatten().topk(k).values)
    torch.testing.assert_close(found.values, dense[found.rows, found.columns])
    assert len(set(zip(found.rows.tolist(), found.columns.tolist(), strict=True))) == k
    assert torch.equal(found.top_of_row, dense.argmax(dim=1))


def test_no_more_entries_are_held_than_allowed():
    # The largest tensor made on the way is measured, not believed: a 40 x 50 product, 100 entries at a time.
    sizes = []

    class Watched(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            sizes.extend(
                t.numel() for t in (made if isinstance(made, tuple) else (made,)) if isinstance(t, torch.Tensor)
            )
            return made

    left, right = normal(40, 1), normal(1, 50, seed=1)
    with Watched():
        found = top_entries(left, right, k=5, entries_at_once=100)
    assert max(sizes) <= 100
    torch.testing.assert_close(found.values, (left @ right).flatten().topk(5).values)


@pytest.mark.parametrize("k", [0, 13])
def test_more_entries_than_there_are_is_refused(k):
    with pytest.raises(ValueError, match=f"k={k} must be between 1 and the 4 x 3"):
        top_entries(normal(4, 2), normal(2, 3), k)
    assert len(top_entries(normal(4, 2), normal(2, 3), 12).values) == 12


def test_the_effective_rank_counts_equal_directions():
    values = torch.tensor([[2.0, 2.0, 2.0, 2.0], [5.0, 0.0, 0.0, 0.0], [3.0, 3.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(effective_rank(values), torch.tensor([4.0, 1.0, 2.0], dtype=torch.float64))


def test_a_head_wider_than_the_model_has_as_many_singular_values_as_the_model_has_directions():
    left, right = normal(3, 5), normal(5, 4, seed=1)
    torch.testing.assert_close(product_singular_values(left, right), torch.linalg.svdvals(left @ right))
