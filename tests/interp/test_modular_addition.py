"""How a model adds: on tables whose waves are known, and on a model built by hand to add."""

import math

import pytest
import torch

from interp.modular_addition import (
    answer_logits,
    answers,
    embedding_shares,
    key_frequencies,
    logit_waves,
    neuron_waves,
    sums,
    with_frequencies,
)
from models.hook_point import HookPoint

P = 13
ROWS = sums(P)


def waves_of(frequency, numbers):
    angle = 2 * math.pi * frequency * numbers.double() / P
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


class Adder:
    """Numbers on circles of frequencies 2 and 5, beside one that it does not use; logits cos(w(a + b - c))."""

    frequencies, unused = (2, 5), 3

    def __init__(self):
        numbers = torch.arange(P)
        circles = [waves_of(k, numbers) for k in (*self.frequencies, self.unused)]
        self.W_E = torch.cat([torch.cat(circles, dim=1), torch.zeros(1, 6, dtype=torch.float64)])
        self.embed = self
        self.hook_dict = {"hook_embed": HookPoint("batch pos d_model")}
        self.hook_dict["hook_embed"].name = "hook_embed"
        self.cfg = type("Config", (), {"n_layers": 1, "n_heads": 1, "d_model": 6, "d_head": 2, "d_vocab": P + 1})()

    def __call__(self, rows):
        x = self.hook_dict["hook_embed"](self.W_E[rows])
        logits = torch.zeros(len(rows), 3, P + 1, dtype=torch.float64)
        for index, k in enumerate(self.frequencies):
            pair = slice(2 * index, 2 * index + 2)
            (cos_a, sin_a), (cos_b, sin_b) = x[:, 0, pair].T, x[:, 1, pair].T
            turned = torch.stack([cos_a * cos_b - sin_a * sin_b, sin_a * cos_b + cos_a * sin_b], dim=-1)
            logits[:, 2, :P] += 4 * turned @ waves_of(k, torch.arange(P)).T
        return logits


def test_all_sums_are_asked_once():
    assert {tuple(row) for row in ROWS.tolist()} == {(a, b, P) for a in range(P) for b in range(P)}
    assert len(ROWS) == P * P


def test_the_adders_logits_are_of_the_sum_and_of_its_frequencies():
    logits = answer_logits(Adder(), ROWS)
    assert answers(logits, ROWS).accuracy == 1.0
    waves = logit_waves(logits, ROWS)
    assert waves.of_the_sum == pytest.approx(1.0)
    assert waves.pythagoras < 1e-14
    assert sorted(key_frequencies(waves.by_frequency)) == [2, 5]
    assert float(waves.by_frequency[[2, 5]].sum()) == pytest.approx(1.0)


def test_noise_and_products_of_other_kinds_are_not_of_the_sum():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(P * P, P, generator=generator, dtype=torch.float64)
    waves = logit_waves(noise, ROWS)
    # A random table has p of its p^2 (p - 1) degrees of freedom there.
    assert waves.of_the_sum < 0.05
    difference = waves_of(4, (ROWS[:, 0] - ROWS[:, 1]) % P) @ waves_of(4, torch.arange(P)).T
    assert logit_waves(difference, ROWS).of_the_sum < 1e-12


def test_accuracy_and_loss_of_a_table_that_is_wrong_for_one_number():
    right = ROWS[:, :2].sum(dim=1) % P
    logits = torch.nn.functional.one_hot(right, P).double() * 3
    logits[ROWS[:, 0] == 4] = 0.0
    logits[ROWS[:, 0] == 4, 0] = 1.0
    got = answers(logits, ROWS)
    # With a = 4 the answer 0 is right once.
    assert got.accuracy == pytest.approx((P * (P - 1) + 1) / P**2)
    expected = torch.nn.functional.cross_entropy(logits, right)
    assert got.loss_nats == pytest.approx(float(expected))


def test_the_adder_needs_its_frequencies_and_no_others():
    model = Adder()
    shares = embedding_shares(model.W_E[:P])
    assert [k for k in range(P // 2 + 1) if shares[k] > 1e-9] == [2, 3, 5]
    assert with_frequencies(model, ROWS, [0, 2, 5]).accuracy == 1.0
    assert with_frequencies(model, ROWS, [0, 1, 2, 4, 5, 6]).accuracy == 1.0
    without = with_frequencies(model, ROWS, [0, 1, 3, 4, 6])
    assert without.accuracy < 2 / P  # every answer ties with every other
    assert without.loss_nats == pytest.approx(math.log(P))


def test_a_neuron_of_one_frequency_is_known_by_it_and_a_product_of_two_is_not():
    a, b = ROWS[:, 0], ROWS[:, 1]
    one = waves_of(4, a)[:, 0] + 2 * waves_of(4, b)[:, 1] + 3 * waves_of(4, a)[:, 1] * waves_of(4, b)[:, 0] + 7
    mixed = waves_of(4, a)[:, 0] * waves_of(2, b)[:, 0]
    half = waves_of(4, a)[:, 0] + waves_of(2, b)[:, 0]
    constant = torch.ones(len(ROWS), dtype=torch.float64)
    share, frequency = neuron_waves(torch.stack([one, mixed, half, constant], dim=1), P)
    torch.testing.assert_close(share, torch.tensor([1.0, 0.0, 0.5, 0.0], dtype=torch.float64), rtol=0, atol=1e-12)
    assert int(frequency[0]) == 4
