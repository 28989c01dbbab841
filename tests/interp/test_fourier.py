"""Waves of the numbers modulo p: an orthonormal basis, and powers that add up."""

import math

import pytest
import torch

from interp.errors import ShapeError
from interp.fourier import fourier_basis, kept_frequencies, power_by_frequency


@pytest.mark.parametrize("modulus", [3, 7, 23])
def test_the_waves_are_orthonormal(modulus):
    waves = fourier_basis(modulus)
    torch.testing.assert_close(waves @ waves.T, torch.eye(modulus, dtype=torch.float64), rtol=0, atol=1e-13)


def test_the_power_is_that_of_numpys_transform_and_adds_up_to_the_length():
    values = torch.randn(11, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    power = power_by_frequency(values)
    transform = torch.fft.rfft(values, dim=0).abs().square().sum(dim=1) / 11
    torch.testing.assert_close(power, torch.cat([transform[:1], 2 * transform[1:]]))
    assert float(power.sum()) == pytest.approx(float(values.square().sum()))


def test_a_wave_has_all_its_power_in_its_frequency_and_is_kept_by_it_alone():
    wave = torch.cos(2 * math.pi * 3 * torch.arange(11, dtype=torch.float64) / 11 + 0.7)[:, None]
    power = power_by_frequency(wave)
    assert float(power[3] / power.sum()) == pytest.approx(1.0)
    torch.testing.assert_close(kept_frequencies(wave, [3]), wave)
    others = [k for k in range(6) if k != 3]
    torch.testing.assert_close(kept_frequencies(wave, others), torch.zeros_like(wave), rtol=0, atol=1e-14)


def test_an_even_modulus_is_refused():
    with pytest.raises(ShapeError, match="not for 8"):
        fourier_basis(8)
    assert fourier_basis(9).shape == (9, 9)
