"""A model in memory that no longer computes what its config says is refused, not converted into another one."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from models import HookedTransformer
from models.errors import CheckpointError

SIZES = {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": 17}


def llama(dtype=torch.float64, **changes):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1, **changes)).to(dtype)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.data.normal_()
    return model.eval()


def hooked(model):
    model.model.layers[0].register_forward_hook(lambda module, arguments, output: -output)


def other_activation(model):
    model.model.layers[1].mlp.act_fn = torch.nn.ReLU()


def edited_config(model):
    model.config.rms_norm_eps = 0.5


@pytest.mark.parametrize("change", [hooked, other_activation, edited_config], ids=lambda change: change.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_model_that_was_changed_after_it_was_made_is_refused(change, dtype):
    model = llama(dtype)
    assert HookedTransformer.from_pretrained(model).cfg.n_layers == 2
    change(model)
    with pytest.raises(CheckpointError, match=r"LlamaForCausalLM gives other logits .* changed after it was made"):
        HookedTransformer.from_pretrained(model)


def test_dropout_of_a_model_in_training_is_no_change_and_it_goes_on_training():
    model = llama(attention_dropout=0.5).train()
    model.lm_head.eval()
    converted = HookedTransformer.from_pretrained_no_processing(model)
    assert model.training
    assert not model.lm_head.training
    tokens = torch.tensor([[3, 1, 4, 1, 5]])
    torch.testing.assert_close(converted(tokens), model.eval()(tokens).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_to_16_bits_is_no_change(dtype):
    for source, target in ((dtype, dtype), (dtype, torch.float32), (torch.float32, dtype)):
        assert HookedTransformer.from_pretrained_no_processing(llama(source), dtype=target).cfg.dtype == target
    model = llama(dtype)
    hooked(model)
    with pytest.raises(CheckpointError, match="gives other logits"):
        HookedTransformer.from_pretrained(model)
