import math
from typing import get_args

import pytest
import torch
from torch.testing import assert_close

from models.activations import ACTIVATIONS, soft_capped
from models.config import Activation

XS = torch.linspace(-4, 4, 23, dtype=torch.float64).reshape(1, 23)


def tanh_gelu(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_new": tanh_gelu,
    "gelu_pytorch_tanh": tanh_gelu,
    "gelu_fast": tanh_gelu,
    "silu": lambda x: x / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_formula_of_each_activation(name):
    expected = torch.tensor([[FORMULAS[name](x) for x in XS[0].tolist()]], dtype=torch.float64)
    # GPT-J's constant has ten digits.
    assert_close(ACTIVATIONS[name](XS), expected, atol=1e-9 if name == "gelu_fast" else 1e-12, rtol=0)


@pytest.mark.parametrize("name", ["solu", "solu_ln"])
def test_solu_is_the_vector_times_its_softmax(name):
    total = sum(math.exp(x) for x in XS[0].tolist())
    expected = torch.tensor([[x * math.exp(x) / total for x in XS[0].tolist()]], dtype=torch.float64)
    assert_close(ACTIVATIONS[name](XS), expected)


def test_every_name_of_the_config_has_a_function():
    assert set(ACTIVATIONS) == set(get_args(Activation)) == {*FORMULAS, "solu", "solu_ln"}


def test_a_soft_cap_bounds_and_keeps_small_numbers():
    capped = soft_capped(10 * XS, 2.0)
    assert_close(capped, torch.tensor([[2 * math.tanh(5 * x) for x in XS[0].tolist()]], dtype=torch.float64))
    assert capped.abs().max() <= 2.0
    assert_close(soft_capped(XS, 1e6), XS, atol=1e-9, rtol=0)
    assert soft_capped(XS, -1.0) is XS
