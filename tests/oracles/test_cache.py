"""TransformerLens' decompositions of the stream on our model, each with the identity that it must satisfy."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformer_lens import ActivationCache
from transformer_lens.tools import analysis

from models import HookedTransformer
from tests.conftest import order_one_model, random_tokens

VARIANTS = [{}, {"attn_only": True}, {"parallel_attn_mlp": True}, {"normalization_type": "RMSPre"}]
BATCH, ANSWER, WRONG = 3, 4, 11


def run(**changes: object) -> tuple[HookedTransformer, Tensor, Tensor, ActivationCache]:
    model = order_one_model(**{"normalization_type": "LNPre", **changes})
    tokens = random_tokens(BATCH)
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    return model, tokens, logits, cache


def final_stream(cache: ActivationCache) -> Tensor:
    return cache["blocks.1.hook_resid_post"]


@pytest.mark.parametrize("changes", VARIANTS)
def test_components_sum_to_the_stream(changes: dict[str, object]) -> None:
    model, _, _, cache = run(**changes)
    stream = final_stream(cache)
    assert_close(cache.decompose_resid(-1).sum(0), stream)
    heads, labels = cache.stack_head_results(-1, return_labels=True, incl_remainder=True)
    assert labels == [*model.all_head_labels(), "remainder"]
    assert_close(heads.sum(0), stream)
    by_layer = heads[:-1].unflatten(0, (2, 4)).sum(1)
    for layer in range(2):
        assert_close(by_layer[layer] + model.b_O[layer], cache["attn_out", layer])


def test_every_neuron_and_head_sums_to_the_stream() -> None:
    model, _, _, cache = run()
    full = cache.get_full_resid_decomposition(-1)
    assert len(full) == 2 * 4 + 2 * model.cfg.d_mlp + 3  # heads, neurons; embedding, positions and biases
    assert_close(full.sum(0), final_stream(cache))
    neurons = cache.stack_neuron_results(-1).unflatten(0, (2, model.cfg.d_mlp)).sum(1)
    for layer in range(2):
        assert_close(neurons[layer] + model.b_out[layer], cache["mlp_out", layer])


@pytest.mark.parametrize(
    ("layer", "mlp_input", "name"),
    [(0, True, "0.hook_resid_mid"), (1, False, "1.hook_resid_pre"), (1, True, "1.hook_resid_mid")],
)
def test_components_below_a_reader_sum_to_what_it_reads(layer: int, mlp_input: bool, name: str) -> None:
    _, _, _, cache = run()
    for components in (ActivationCache.decompose_resid, ActivationCache.get_full_resid_decomposition):
        assert_close(components(cache, layer, mlp_input=mlp_input).sum(0), cache[f"blocks.{name}"])


def test_head_results_computed_afterwards_equal_the_hooked_ones() -> None:
    computed, hooked = run()[3], run(use_attn_result=True)[3]
    computed.compute_head_results()
    for layer in range(2):
        assert_close(computed["result", layer], hooked["result", layer])


def test_the_accumulated_stream_is_the_stream_at_each_block() -> None:
    _, _, _, cache = run()
    stack, labels = cache.accumulated_resid(-1, incl_mid=True, return_labels=True)
    assert labels == ["0_pre", "0_mid", "1_pre", "1_mid", "final_post"]
    names = ["0.hook_resid_pre", "0.hook_resid_mid", "1.hook_resid_pre", "1.hook_resid_mid", "1.hook_resid_post"]
    assert_close(stack, torch.stack([cache[f"blocks.{name}"] for name in names]))


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_normalised_components_unembed_to_the_logits(changes: dict[str, object]) -> None:
    model, _, logits, cache = run(**changes)
    normalised = cache.apply_ln_to_stack(cache.decompose_resid(-1))
    assert_close(normalised.sum(0) @ model.W_U + model.b_U, logits)


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("components", [ActivationCache.decompose_resid, ActivationCache.get_full_resid_decomposition])
def test_attributions_sum_to_the_logit_difference(
    changes: dict[str, object], components: Callable[..., Tensor]
) -> None:
    model, _, logits, cache = run(**changes)
    attributions = cache.logit_attrs(components(cache, -1), tokens=ANSWER, incorrect_tokens=WRONG)
    bias = model.b_U[ANSWER] - model.b_U[WRONG]
    assert_close(attributions.sum(0) + bias, logits[..., ANSWER] - logits[..., WRONG])


def test_direct_logit_attribution_sums_to_the_logit() -> None:
    model, tokens, logits, _ = run()
    answers = torch.tensor([ANSWER] * BATCH)
    components = analysis.direct_logit_attribution(model, tokens, answers, unit="component")
    assert components.labels == ["embed", "pos_embed", "0_attn_out", "0_mlp_out", "1_attn_out", "1_mlp_out"]
    assert_close(components.attribution.sum(0), logits[:, -1, ANSWER] - model.b_U[ANSWER])
    heads = analysis.direct_logit_attribution(model, tokens, answers, unit="head").attribution
    assert_close(heads.sum(0), components.attribution.sum(0))


def test_the_last_entry_of_the_logit_lens_is_the_model() -> None:
    model, tokens, logits, cache = run()
    found = analysis.logit_lens(model, tokens, positions=None)
    assert found.labels == ["0_pre", "1_pre", "final_post"]
    assert_close(found.values[-1], logits)
    stream = cache["blocks.1.hook_resid_pre"]
    assert_close(found.values[1], model.unembed(model.ln_final(stream)).detach())


def test_the_logit_lens_reads_through_a_norm_with_weights() -> None:
    model, tokens, logits, _ = run(normalization_type="LN")
    assert_close(analysis.logit_lens(model, tokens, positions=None).values[-1], logits)
