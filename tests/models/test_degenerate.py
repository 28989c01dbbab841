"""The smallest models that there are: each computes its definition, or says why it cannot be built."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from interp import LogitDifference, sweep
from models import HookedTransformer
from models.errors import ConfigError
from tests.conftest import order_one_model, small_config
from tests.models.definition import logits_by_loops
from tests.models.loading.architectures import LLAMA_ROPE
from tests.models.loading.in_float64 import float64_throughout, logits_and_streams, with_order_one_weights

ONE_OF_EVERYTHING = {"n_layers": 1, "n_heads": 1, "d_model": 2, "d_head": 1, "d_mlp": 1, "d_vocab": 2, "n_ctx": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"n_heads": 1},
        {"n_layers": 1},
        {"n_layers": 1, "n_heads": 1},
        {"attn_only": True},
        {"attn_only": True, "n_layers": 1, "n_heads": 1, "d_head": 1},
        {"d_head": 1},
        {"d_mlp": 1},
        {"d_model": 2, "d_head": 3},
        {"d_vocab": 2},
        {"n_ctx": 1},
        ONE_OF_EVERYTHING,
    ],
)
@torch.no_grad()
def test_a_degenerate_model_computes_its_definition(changes: dict[str, int]) -> None:
    model = order_one_model(normalization_type="LN", **changes)
    tokens = torch.arange(model.cfg.n_ctx) % model.cfg.d_vocab
    torch.testing.assert_close(model(tokens[None])[0], logits_by_loops(model, tokens.tolist()))


@pytest.mark.parametrize("changes", [{"n_heads": 1}, {"n_layers": 1, "n_heads": 1}, {"d_head": 1}, {"attn_only": True}])
@pytest.mark.parametrize(("point", "axis"), [("resid_pre", "pos"), ("z", "head"), ("pattern", "head")])
def test_a_degenerate_model_is_swept_as_any_other(changes: dict[str, int], point: str, axis: str) -> None:
    model = order_one_model(**changes)
    clean, corrupted = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 5, 3, 4]])
    given = (model, clean, corrupted, point, ("layer", axis), LogitDifference(torch.tensor([6]), torch.tensor([7])))
    fast = sweep(*given, direction="denoising", engine="wavefront")
    plain = sweep(*given, direction="denoising", engine="hooks")
    torch.testing.assert_close(fast.values, plain.values)
    assert fast.values.shape[1:] == (model.cfg.n_layers, 4 if axis == "pos" else model.cfg.n_heads)


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (2, 1), (6, 1), (6, 6)])
@torch.no_grad()
def test_few_key_value_heads_are_those_of_transformers(heads: int, kv_heads: int) -> None:
    fields = {**LLAMA_ROPE, "num_hidden_layers": 1, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    with float64_throughout():
        theirs = with_order_one_weights(AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **fields)))
    ours = HookedTransformer.from_pretrained_no_processing(theirs, device="cpu")
    for length in (1, 7):
        tokens = torch.arange(1, length + 1)[None]
        expected, _ = logits_and_streams(theirs, tokens)
        torch.testing.assert_close(ours(tokens), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layers": 0}, "n_layers=0"),
        ({"n_heads": 0}, "n_heads=0"),
        ({"d_head": 0}, "d_head=0"),
        ({"d_vocab": 0}, "d_vocab=0"),
        ({"n_ctx": 0}, "n_ctx=0"),
        ({"n_key_value_heads": 3}, "n_key_value_heads=3"),
        ({"d_head": 1, "positional_embedding_type": "rotary"}, "rotary_dim=1"),
    ],
)
def test_what_is_no_model_is_refused_by_name(changes: dict[str, int], message: str) -> None:
    small_config(positional_embedding_type="rotary")
    with pytest.raises(ConfigError, match=message):
        small_config(**changes)
