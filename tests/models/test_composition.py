"""Composition scores are those of TransformerLens, of the products multiplied out, and small where they are held."""

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformer_lens.utilities import composition_scores as of_transformer_lens

from tests.conftest import order_one_model

SIZES = {
    "several heads": {"n_layers": 3},
    "shared keys and values": {"n_layers": 3, "n_key_value_heads": 2},
    "heads wider than the model": {"n_layers": 2, "n_heads": 2, "d_head": 15},
}


@pytest.mark.parametrize("mode", ["Q", "K", "V"])
@pytest.mark.parametrize("sizes", SIZES)
@torch.no_grad()
def test_scores_are_transformer_lens_and_those_of_matrices_multiplied_out(sizes, mode):
    model = order_one_model(**SIZES[sizes])
    found = model.all_composition_scores(mode)
    readers = {"Q": model.QK, "K": model.QK.T, "V": model.OV}
    layers = torch.arange(model.cfg.n_layers)
    later = (layers[:, None, None, None] < layers[:, None]).expand_as(found)
    theirs = of_transformer_lens(model.OV, readers[mode], broadcast_dims=True)
    assert_close(found[later], theirs[later], atol=1e-10, rtol=0)
    assert found[~later].eq(0).all()
    assert found[later].gt(0.01).all()
    writer, reader = model.OV.AB[0, 1], readers[mode].AB[1, 0]
    assert_close(found[0, 1, 1, 0], (writer @ reader).norm() / writer.norm() / reader.norm())


def test_a_head_of_zeros_has_no_score_and_spoils_no_other():
    model = order_one_model(n_layers=3)
    whole = model.all_composition_scores("V").detach()
    with torch.no_grad():
        model.blocks[1].attn.W_O[2] = 0
    found = model.all_composition_scores("V").detach()
    assert found[0, :, 1, 2].isnan().all()
    assert found[1, 2, 2].isnan().all()
    assert found[1, 2, :2].eq(0).all()
    assert found[2].eq(0).all()
    kept = ~found.isnan()
    assert kept.sum() == found.numel() - 4 - 4
    assert_close(found[kept], whole[kept] * (found[kept] != 0))


def test_sixteen_bit_weights_are_compared_in_float32():
    model = order_one_model(n_layers=2, dtype=torch.bfloat16)
    found = model.all_composition_scores("Q")
    assert found.dtype == torch.float32
    assert_close(found, model.to(torch.float32).all_composition_scores("Q"))


class _Sizes(TorchDispatchMode):
    """Notes how large the tensors are that are made."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(made)[0]:
            self.largest = max(self.largest, tensor.numel() if isinstance(tensor, torch.Tensor) else 0)
        return made


def test_nothing_is_made_that_is_larger_than_the_weights():
    model = order_one_model(n_layers=3)
    with _Sizes() as ours, torch.no_grad():
        model.all_composition_scores("K")
    with _Sizes() as theirs, torch.no_grad():
        of_transformer_lens(model.OV, model.QK.T, broadcast_dims=True)
    assert ours.largest <= model.W_V.numel()
    # All pairs of heads at once, which a model of many heads has no memory for.
    assert theirs.largest >= 12 * 12 * 6 * 6 > model.W_V.numel()
