"""TransformerLens' native bridge computes what the model does whose weights it was given."""

import pytest
import torch
from torch.testing import assert_close

from benchmarks import native_bridge
from tests.conftest import order_one_model, random_tokens


def without_output_bias(**changes):
    model = order_one_model(act_fn="gelu_new", **changes)
    with torch.no_grad():
        model.b_U.zero_()
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attn_only": True},
        {"positional_embedding_type": "rotary", "rotary_dim": 4},
        {"positional_embedding_type": "rotary", "rotary_adjacent_pairs": True},
    ],
    ids=["learned", "attention only", "rotary, part of a head", "rotary, neighbours"],
)
@torch.no_grad()
def test_the_bridge_gives_the_model_s_logits(changes):
    model = without_output_bias(**changes)
    tokens = random_tokens()
    # Its rotary tables are float32.
    tolerance = 1e-4 if changes.get("positional_embedding_type") == "rotary" else 1e-10
    assert_close(native_bridge.from_hooked(model)(tokens), model(tokens), rtol=0, atol=tolerance)


def test_an_output_bias_is_refused():
    with pytest.raises(ValueError, match="no b_U"):
        native_bridge.from_hooked(order_one_model(act_fn="gelu_new"))
    assert native_bridge.from_hooked(without_output_bias()).cfg.n_layers == 2
