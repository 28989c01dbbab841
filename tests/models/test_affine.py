"""Large float32 products without gradients go to oneDNN, and everything that PyTorch must see itself does not."""

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from models import affine as affine_module
from models.affine import affine

ROWS, WIDTH, OUT = 9, 12, 7


@pytest.fixture
def taken(monkeypatch):
    """Sends small products there as well, and tells whether the last one went."""
    monkeypatch.setattr(affine_module, "LEAST_PRODUCTS", 0)
    able = affine_module._oneDNN_can
    answers = []
    monkeypatch.setattr(affine_module, "_oneDNN_can", lambda x, weight: answers.append(able(x, weight)) or answers[-1])
    x, weight, bias = torch.randn(2, ROWS, WIDTH), torch.randn(WIDTH, OUT), torch.randn(OUT)
    affine(x, weight, bias)
    if not answers.pop():
        pytest.skip("this machine has no AVX-512, or PyTorch no oneDNN")
    return answers


def factors(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, ROWS, WIDTH), (WIDTH, OUT), (OUT,))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def by_hand(x, weight, bias):
    return (x.double()[..., None] * weight.double()).sum(-2) + bias.double()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_it_is_the_product_plus_the_bias(taken, transposed, with_bias):
    x, weight, bias = factors()
    weight = weight.T.contiguous().T if transposed else weight
    found = affine(x, weight, bias if with_bias else None)
    assert taken == [True]
    assert found.is_contiguous()
    assert_close(found.double(), by_hand(x, weight, bias if with_bias else 0 * bias), rtol=1e-5, atol=1e-5)
    assert_close(affine(x[0], weight, bias), affine(x, weight, bias)[0], rtol=1e-5, atol=1e-5)


def test_what_is_not_finite_stays_so(taken):
    x, weight, bias = factors()
    x[1, 3, 2], x[0, 1, 5] = torch.inf, torch.nan
    found = affine(x, weight, bias)
    assert taken == [True]
    assert not found[1, 3].isfinite().any()
    assert found[0, 1].isnan().all()
    assert found.isfinite().sum() == found.numel() - 2 * OUT


def test_gradients_are_those_of_the_product(taken):
    x, weight, bias = factors()
    weight.requires_grad_()
    affine(x, weight, bias).sum().backward()
    assert taken == [False]
    assert_close(weight.grad, x.sum((0, 1))[:, None].expand(WIDTH, OUT))
    with torch.no_grad():
        assert_close(affine(x, weight, bias), affine(x, weight.detach(), bias), rtol=0, atol=0)
    assert taken == [False, True, True]


@pytest.mark.parametrize(
    "given",
    [
        lambda: factors(torch.float64),
        lambda: factors(torch.bfloat16),
        lambda: [factors()[0][:, ::2], *factors()[1:]],
        lambda: [factors()[0], torch.randn(WIDTH, 2 * OUT)[:, ::2], factors()[2]],
    ],
    ids=["float64", "bfloat16", "rows apart", "columns apart"],
)
def test_other_numbers_and_strides_go_the_ordinary_way(taken, given):
    x, weight, bias = given()
    tolerance = {"rtol": 2e-2, "atol": 5e-2} if x.dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    assert_close(affine(x, weight, bias).double(), by_hand(x, weight, bias), **tolerance)
    assert taken == [False]


def test_operations_are_counted_as_before(taken):
    x, weight, bias = factors()
    with FlopCounterMode(display=False) as counter:
        affine(x, weight, bias)
    assert taken == [False]
    assert counter.get_total_flops() == 2 * 2 * ROWS * WIDTH * OUT


def test_autocast_and_compilation_are_honoured(taken, monkeypatch):
    x, weight, bias = factors()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert affine(x, weight, bias).dtype == torch.bfloat16
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    affine(x, weight, bias)
    assert taken == [False, False]


def test_who_switches_oneDNN_off_is_heard(taken):
    x, weight, bias = factors()
    torch.backends.mkldnn.set_flags(_enabled=False, _fp32_precision=None)
    try:
        affine(x, weight, bias)
    finally:
        torch.backends.mkldnn.set_flags(_enabled=True, _fp32_precision=None)
    affine(x, weight, bias)
    assert taken == [False, True]


def test_a_mapped_product_is_each_product(taken):
    x, weight, bias = factors()
    mapped = torch.vmap(lambda one: affine(one, weight, bias))(x)
    assert taken == [False]
    assert_close(mapped, torch.stack([affine(one, weight, bias) for one in x]), rtol=1e-5, atol=1e-5)
    assert taken == [False, True, True]
