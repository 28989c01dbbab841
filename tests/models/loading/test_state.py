"""TransformerLens' leftovers are dropped by name and value; nothing else is forgiven."""

import pytest
import torch

from models.errors import CheckpointError
from tests.conftest import order_one_model, random_tokens


def loads(model, state, tokens=None):
    """Whether the model, loaded with this state, computes what it did."""
    tokens = random_tokens() if tokens is None else tokens
    before = model(tokens)
    model.load_state_dict(state)
    return torch.equal(model(tokens), before)


def test_stray_buffers_are_dropped_by_their_exact_names():
    model = order_one_model(positional_embedding_type="rotary")
    stray = {
        f"blocks.{layer}.attn.{name}": torch.ones(9, 9)
        for layer in range(2)
        for name in ("mask", "IGNORE", "rotary_sin", "rotary_cos")
    }
    assert loads(model, {**model.state_dict(), **stray})
    for name in ("blocks.0.attn.masks", "blocks.0.mlp.mask", "mask", "blocks.0.attn.rotary", "xblocks.0.attn.mask"):
        with pytest.raises(CheckpointError, match=f"missing nothing; unexpected {name}$"):
            model.load_state_dict({**model.state_dict(), name: torch.ones(1)})


def test_a_tied_model_takes_an_unembedding_only_if_it_is_the_embedding():
    model = order_one_model(tie_word_embeddings=True)
    state = {**model.state_dict(), "unembed.W_U": model.W_E.detach().T.clone()}
    assert loads(model, state)
    state["unembed.W_U"][3, 2] += 1e-12
    with pytest.raises(CheckpointError, match=r"unembed\.W_U is not the transpose of embed\.W_E"):
        model.load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"unembed\.W_U is not the transpose of embed\.W_E"):
        model.load_state_dict({**state, "unembed.W_U": state["unembed.W_U"].T})


@pytest.mark.parametrize("n_key_value_heads", [None, 2])
def test_a_model_without_qkv_biases_takes_only_zeros_for_them(n_key_value_heads):
    model = order_one_model(qkv_bias=False, n_key_value_heads=n_key_value_heads)
    shared = "" if n_key_value_heads is None else "_"
    names = [f"blocks.1.attn.{name}" for name in ("b_Q", f"{shared}b_K", f"{shared}b_V")]
    zeros = {name: torch.zeros(4, 6) for name in names}
    assert loads(model, {**model.state_dict(), **zeros})
    for name in names:
        with pytest.raises(CheckpointError, match=rf"{name} is not zero, .* build it with qkv_bias=True"):
            model.load_state_dict({**model.state_dict(), name: torch.full((4, 6), 1e-30)})


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_not_finite_are_refused_and_nothing_is_loaded(value):
    model = order_one_model()
    state = {name: tensor.clone() for name, tensor in order_one_model(seed=1).state_dict().items()}
    before = model.W_E.clone()
    state["blocks.1.ln2.b"][4] = value
    with pytest.raises(CheckpointError, match=r"blocks\.1\.ln2\.b has 1 of 12 numbers that are not finite"):
        model.load_state_dict(state)
    assert torch.equal(model.W_E, before)


def test_numbers_beyond_the_range_of_the_models_dtype_are_refused():
    model = order_one_model(dtype=torch.float16)
    state = {name: value.float() for name, value in model.state_dict().items()}
    assert loads(model, state)
    state["unembed.b_U"][0] = 1e5
    with pytest.raises(CheckpointError, match=r"unembed\.b_U has 1 of 17 numbers that are not finite"):
        model.load_state_dict(state)


def test_both_lists_of_names_are_shown_and_long_ones_are_cut():
    model, other = order_one_model(), order_one_model(n_layers=1, normalization_type="RMS", gated_mlp=True)
    with pytest.raises(
        CheckpointError, match=r"missing blocks\.0\.ln1\.b, .* and \d+ more; unexpected blocks\.0\.mlp\.W_gate"
    ):
        model.load_state_dict(other.state_dict())
    # What PyTorch allows when asked to, it still does; values and shapes are checked all the same.
    result = model.load_state_dict({"embed.W_E": other.W_E, "foreign": torch.ones(1)}, strict=False)
    assert torch.equal(model.W_E, other.W_E)
    assert result.unexpected_keys == ["foreign"]
    with pytest.raises(CheckpointError, match=r"embed\.W_E has shape \[12, 17\]; the model's has \[17, 12\]"):
        model.load_state_dict({"embed.W_E": other.W_E.T}, strict=False)


def test_the_dtype_of_the_model_stays():
    model = order_one_model()
    model.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    assert {value.dtype for value in model.state_dict().values()} == {torch.float64}
