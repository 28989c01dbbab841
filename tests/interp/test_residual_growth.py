import math

import torch

from interp.residual_growth import growth


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_writes_at_right_angles_add_their_squares():
    start, writes = torch.eye(6, dtype=torch.float64)[:1], torch.diag(torch.tensor([0.0, 2, 3, 5, 0, 0])).double()
    streams = torch.cat([start, start + writes[1:4].cumsum(dim=0)])[:, None, None]
    found = growth(streams)
    assert found.squared_length.flatten().tolist() == [1, 5, 14, 39]
    torch.testing.assert_close(found.independent, found.squared_length)
    assert found.written.flatten().tolist() == [4, 9, 25]
    assert found.alignment.abs().max() == 0


def test_a_block_that_takes_away_or_doubles_is_aligned_with_the_stream():
    x = normal(2, 3, 5)
    found = growth(torch.stack([x, 2 * x, 0.5 * x]))
    torch.testing.assert_close(found.alignment, torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).double())
    torch.testing.assert_close(found.independent[1], 2 * found.squared_length[0])


def test_the_squares_are_means_over_positions_of_each_prompt():
    streams = normal(4, 2, 3, 5)
    found = growth(streams)
    torch.testing.assert_close(found.squared_length, streams.square().sum(-1).mean(-1))
    assert found.squared_length.shape == (4, 2)
    assert found.identity_error < 1e-12
    change = streams[1] - streams[0]
    expected = found.squared_length[0] + change.square().sum(-1).mean(-1) + 2 * (streams[0] * change).sum(-1).mean(-1)
    assert math.isclose(expected[0], found.squared_length[1, 0], rel_tol=1e-12)
