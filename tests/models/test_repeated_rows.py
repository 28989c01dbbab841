"""Repeated random tokens to train on: each row has a period of its own, and nothing else to foresee."""

import pytest
import torch

from models.errors import ConfigError
from models.repeated_rows import RepeatedRows

ROWS = RepeatedRows(n_ctx=60, d_vocab=997, seed=1, bos=3)


def period(row):
    body = row[1:]
    return next(k for k in range(1, len(body)) if torch.equal(body[k:], body[:-k]))


def test_each_row_repeats_a_sequence_at_least_once_and_no_distance_fits_all():
    rows = ROWS.at(0, 40)
    assert rows.shape == (40, 60)
    assert (rows[:, 0] == 3).all()
    periods = [period(row) for row in rows]
    assert min(periods) >= 8
    assert max(periods) <= 59 // 2
    assert len(set(periods)) > 10


def test_rows_are_a_function_of_seed_and_step():
    assert torch.equal(ROWS.at(5, 4), ROWS.at(5, 4))
    assert not torch.equal(ROWS.at(5, 4), ROWS.at(6, 4))
    assert torch.equal(ROWS.at(5, 2), ROWS.at(5, 4)[:2])


def test_a_context_without_room_for_two_copies_is_refused():
    with pytest.raises(ConfigError, match="n_ctx=16 is too short"):
        RepeatedRows(16, 997, 1, 3)
    RepeatedRows(17, 997, 1, 3)
