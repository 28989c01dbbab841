"""Folding and centring: the model computes what it computed, and each step does what it claims."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from models import HookedTransformer
from models.errors import CheckpointError, ProcessingError
from tests.conftest import order_one, order_one_model, random_tokens, small_config
from tests.models.configurations import configurations

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def assert_same_output(actual: torch.Tensor, expected: torch.Tensor, logits: torch.Tensor) -> None:
    """Equal to rounding, which is relative to the logits: without norms they reach 1e7.

    The largest error seen in 1500 drawn configurations was 4e-13 of the largest logit.
    """
    assert (actual - expected).abs().max() <= 1e-11 * logits.abs().max().clamp(min=1)


def with_state(model: HookedTransformer, state: dict[str, torch.Tensor], **changes: object) -> HookedTransformer:
    """Another model of the given changes to the configuration, with these weights."""
    other = HookedTransformer(type(model.cfg).from_dict(model.cfg.to_dict() | changes)).eval()
    other.load_state_dict(state)
    return other


@settings(max_examples=60, deadline=None)
@given(configurations())
def test_the_whole_pipeline_leaves_the_log_probabilities(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    if model.cfg.gated_mlp and model.cfg.normalization_type == "LN":
        for block in model.blocks if not model.cfg.attn_only else ():
            block.ln2.b.data.zero_()
    before = model(tokens)
    model.process_weights_()
    assert_same_output(model(tokens).log_softmax(-1), before.log_softmax(-1), before)
    foldable = changes["normalization_type"] in ("LN", "RMS") and changes["norm_placement"] == "pre"
    foldable = foldable and changes["positional_embedding_type"] != "shortformer"
    if foldable:
        assert model.cfg.normalization_type == {"LN": "LNPre", "RMS": "RMSPre"}[changes["normalization_type"]]
        assert not [name for name in model.state_dict() if ".ln" in name and "post" not in name]
    assert model.cfg.dtype == torch.float64


@settings(max_examples=30, deadline=None)
@given(configurations(norm_placement="pre"))
def test_folding_alone_leaves_the_logits(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    before = model(tokens)
    model.process_weights_(center_writing_weights=False, center_unembed=False)
    assert_same_output(model(tokens), before, before)


@settings(max_examples=20, deadline=None)
@given(configurations(normalization_type="LN", norm_placement="pre", final_norm=True, final_rms=False))
def test_centring_alone_leaves_the_logits_and_what_is_written_has_mean_zero(changes):
    changes["use_normalization_before_and_after"] = False
    model, tokens = order_one_model(**changes), random_tokens()
    before = model(tokens)
    model.process_weights_(fold_ln=False, center_writing_weights=True, center_unembed=False)
    assert_same_output(model(tokens), before, before)
    _, cache = model.run_with_cache(tokens)
    for name in ("blocks.0.hook_resid_pre", "blocks.1.hook_attn_out", "blocks.1.hook_resid_post"):
        assert_close(cache[name].mean(-1), torch.zeros(tokens.shape, dtype=torch.float64))


def test_folded_readers_see_a_normalised_stream_and_have_no_constant_column():
    model = order_one_model(tie_word_embeddings=True, qkv_bias=False)
    weight, bias, W_Q = model.blocks[1].ln1.w.clone(), model.blocks[1].ln1.b.clone(), model.W_Q[1].clone()
    model.process_weights_(center_writing_weights=False, center_unembed=False)
    assert not model.cfg.tie_word_embeddings
    assert model.cfg.qkv_bias
    folded = torch.einsum("d,hde->hde", weight, W_Q)
    assert_close(model.W_Q[1], folded - folded.mean(1, keepdim=True))
    assert_close(model.b_Q[1], torch.einsum("d,hde->he", bias, W_Q))
    for reader in (model.W_Q, model.W_K, model.W_V, model.W_in):
        assert_close(reader.sum(-2), torch.zeros_like(reader.sum(-2)))
    assert_close(model.W_U.sum(0), torch.zeros(17, dtype=torch.float64))


def test_the_norm_inside_a_solu_mlp_folds_into_its_output():
    model, tokens = order_one_model(act_fn="solu_ln"), random_tokens()
    before = model(tokens)
    model.process_weights_(center_writing_weights=False, center_unembed=False)
    assert not [name for name in model.state_dict() if ".mlp.ln." in name]
    assert_close(model(tokens), before, **CLOSE)
    assert_close(model.W_out.sum(1), torch.zeros_like(model.W_out.sum(1)))


def test_norms_behind_the_layers_keep_their_weights():
    model, tokens = order_one_model(use_normalization_before_and_after=True), random_tokens()
    before, weight = model(tokens), model.blocks[0].ln1_post.w.clone()
    model.process_weights_(center_unembed=False)
    assert_close(model(tokens), before, **CLOSE)
    assert_close(model.blocks[0].ln1_post.w, weight)


def test_a_centred_unembedding_moves_all_logits_of_a_position_alike():
    model, tokens = order_one_model(), random_tokens()
    before = model(tokens)
    model.load_state_dict(model.center_unembed(model.state_dict()))
    after = model(tokens)
    shift = before - after
    assert_close(shift, shift[..., :1].expand_as(shift), **CLOSE)
    assert shift.abs().min() > 1e-3
    assert_close(after.mean(-1), torch.zeros_like(after[..., 0]), **CLOSE)


@pytest.mark.parametrize("n_key_value_heads", [None, 2])
def test_value_biases_move_into_the_output_bias_and_nothing_else_changes(n_key_value_heads):
    model, tokens = order_one_model(n_key_value_heads=n_key_value_heads), random_tokens()
    given = {name: value.clone() for name, value in model.state_dict().items()}
    folded = model.fold_value_biases(given)
    changed = {name.rpartition(".")[2] for name in given if not torch.equal(folded[name], given[name])}
    assert changed == {"b_O", "b_V" if n_key_value_heads is None else "_b_V"}
    assert_close(with_state(model, folded)(tokens), model(tokens), **CLOSE)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in given.items())


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False}, {"d_head": 14}, {"attn_only": True}])
def test_another_basis_for_each_head_leaves_its_circuits(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    other = with_state(model, model.refactor_factored_attn_matrices(model.state_dict()))
    assert_close(other(tokens), model(tokens), **CLOSE)
    for ours, theirs in ((other.QK, model.QK), (other.OV, model.OV)):
        assert_close(ours.AB, theirs.AB, **CLOSE)

    def columns(W, b):
        return torch.cat([W, b[:, :, None]], dim=2).norm(dim=2)

    # Queries and keys share the singular values evenly; W_O is a rotation.
    assert_close(columns(other.W_Q, other.b_Q), columns(other.W_K, other.b_K), **CLOSE)
    assert not torch.allclose(columns(model.W_Q, model.b_Q), columns(model.W_K, model.b_K))
    if model.cfg.d_head < model.cfg.d_model:
        identity = torch.eye(model.cfg.d_head, dtype=torch.float64).expand(2, 4, -1, -1)
        assert_close(other.W_O @ other.W_O.transpose(-2, -1), identity)
    assert not other.b_V.any()


def test_the_loss_does_not_depend_on_the_key_biases():
    model = order_one_model()
    model(random_tokens(), return_type="loss").backward()
    for block in model.blocks:
        # Adding b_K adds q . b_K to a whole row of scores, and softmax takes it away.
        assert block.attn.b_K.grad.abs().max() < 1e-15 < 1e-6 < block.attn.b_Q.grad.abs().max()


def test_the_steps_one_by_one_are_the_pipeline():
    model = order_one_model(tie_word_embeddings=True)
    state = model.state_dict()
    for step in (model.fold_layer_norm, model.center_writing_weights, model.center_unembed, model.fold_value_biases):
        state = step(state)
    norms = [name for name in model.state_dict() if ".ln" in f".{name}"]
    model.process_weights_()
    assert state.keys() == model.state_dict().keys() | {*norms}
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value)


KINDS_OF_NORM = {
    "LN": {},
    "RMS": {"normalization_type": "RMS"},
    "a last RMS": {"final_rms": True},
    "solu": {"act_fn": "solu_ln"},
    "norms before and after": {"use_normalization_before_and_after": True},
}


@pytest.mark.parametrize("kind", KINDS_OF_NORM)
@pytest.mark.parametrize("strict", [True, False])
def test_folded_weights_load_into_the_model_they_came_from_and_into_one_without_norms(kind, strict):
    model, tokens = order_one_model(**KINDS_OF_NORM[kind]), random_tokens()
    before, norm = model(tokens), model.cfg.normalization_type
    folded = model.fold_layer_norm(model.state_dict())
    without = HookedTransformer(replace(model.cfg, normalization_type=f"{norm}Pre")).eval()
    for loaded in (model, without):
        loaded.load_state_dict(folded, strict=strict)
        assert_close(loaded(tokens), before, **CLOSE)
    # Folding the identity is nothing, and the model with norms can still be processed.
    model.load_and_process_state_dict(model.fold_layer_norm(folded), center_unembed=False)
    assert_close(model(tokens), before, **CLOSE)


@pytest.mark.parametrize("strict", [True, False])
def test_norms_that_were_not_folded_are_not_dropped_by_a_model_without_them(strict):
    model = order_one_model()
    without = HookedTransformer(replace(model.cfg, normalization_type="LNPre"))
    with pytest.raises(CheckpointError, match=r"ln1\.[wb] is not the identity.*normalization_type='LN' folds them"):
        without.load_state_dict(model.state_dict(), strict=strict)
    without.load_state_dict(model.fold_layer_norm(model.state_dict()), strict=strict)


def test_processing_twice_changes_nothing_more():
    model = order_one_model()
    model.process_weights_()
    once = {name: value.clone() for name, value in model.state_dict().items()}
    model.process_weights_()
    for name, value in model.state_dict().items():
        assert_close(value, once[name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_weights_are_rounded_once(dtype):
    model = order_one_model(dtype=torch.float32)
    half = order_one_model(dtype=torch.float32).to(dtype)
    # The same rounded weights, processed in float32 and then rounded: not one bit may differ.
    model.load_state_dict(half.state_dict())
    model.process_weights_()
    half.process_weights_()
    assert half.cfg.dtype == dtype
    for name, value in half.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].to(dtype))
    folded = order_one_model(dtype=torch.float16).fold_layer_norm(order_one_model(dtype=torch.float16).state_dict())
    assert {value.dtype for value in folded.values()} == {torch.float16}


@pytest.mark.parametrize(
    ("changes", "step", "message"),
    [
        ({"normalization_type": None}, "fold_ln", "the model has no norms"),
        ({"normalization_type": "ScaleNorm"}, "fold_ln", "ScaleNorm has no form without its weight"),
        ({"norm_placement": "post"}, "fold_ln", "post-norm blocks carry the normalised stream on"),
        ({"gated_mlp": True}, "fold_ln", "a gated MLP has no bias on its gate"),
        ({"positional_embedding_type": "shortformer"}, "fold_ln", "positions are added behind the norms"),
        ({"normalization_type": "RMS"}, "center_writing_weights", "normalization_type is 'RMS'"),
        ({"norm_placement": "post"}, "center_writing_weights", "reads the stream unnormalised"),
        ({"use_normalization_before_and_after": True}, "center_writing_weights", "norms behind the layers"),
        ({"final_rms": True}, "center_writing_weights", "unembedding reads the stream without a LayerNorm"),
        ({"final_norm": False}, "center_writing_weights", "unembedding reads the stream without a LayerNorm"),
        ({"output_logits_soft_cap": 5.0}, "center_unembed", "a soft cap of 5.0"),
        ({"positional_embedding_type": "rotary"}, "refactor_factored_attn_matrices", "rotary positions turn"),
        ({"n_key_value_heads": 2}, "refactor_factored_attn_matrices", "share their basis"),
    ],
)
def test_what_is_not_exact_is_refused_when_asked_for_and_left_out_by_default(changes, step, message):
    model, tokens = order_one_model(**changes), random_tokens()
    before, config = model(tokens), model.cfg
    with pytest.raises(ProcessingError, match=message):
        model.process_weights_(**{step: True})
    assert model.cfg == config
    assert torch.equal(model(tokens), before)
    method = {"fold_ln": "fold_layer_norm"}.get(step, step)
    with pytest.raises(ProcessingError, match=message):
        getattr(model, method)(model.state_dict())
    model.process_weights_()
    assert_same_output(model(tokens).log_softmax(-1), before.log_softmax(-1), before)


def test_rms_norm_refuses_to_centre_what_reads_from_it():
    model = order_one_model(normalization_type="RMS")
    with pytest.raises(ProcessingError, match="RMSNorm does not centre"):
        model.fold_layer_norm(model.state_dict(), fold_biases=False, center_weights=True)
    folded = model.fold_layer_norm(model.state_dict(), fold_biases=False, center_weights=False)
    assert_close(with_state(model, folded, normalization_type="RMSPre")(random_tokens()), model(random_tokens()))


def test_norm_biases_cannot_be_dropped():
    model = order_one_model()
    with pytest.raises(ProcessingError, match=r"fold_biases=False would lose blocks\.0\.ln1\.b"):
        model.fold_layer_norm(model.state_dict(), fold_biases=False)
    for name, parameter in model.named_parameters():
        if ".ln" in f".{name}" and name.endswith(".b"):
            parameter.data.zero_()
    folded = model.fold_layer_norm(model.state_dict(), fold_biases=False)
    assert_close(with_state(model, folded, normalization_type="LNPre")(random_tokens()), model(random_tokens()))


def test_a_hooked_model_is_not_rebuilt():
    model = order_one_model()
    model.add_hook("blocks.0.hook_resid_pre", lambda resid, hook: resid)
    with pytest.raises(ProcessingError, match=r"blocks\.0\.hook_resid_pre has hooks"):
        model.process_weights_()
    model.reset_hooks()
    model.process_weights_()
    # Nothing has to be rebuilt any more, so hooks may stay.
    model.add_hook("blocks.0.hook_resid_pre", lambda resid, hook: resid)
    model.process_weights_()
    assert model.hook_dict["blocks.0.hook_resid_pre"].hooked


def test_a_rebuilt_model_keeps_its_switches_mode_and_frozen_parameters():
    model = order_one_model(n_key_value_heads=2)
    model.set_use_attn_result(True)
    model.set_ungroup_grouped_query_attention(True)
    # Freshly built modules would be in training mode.
    model.eval().embed.W_E.requires_grad_(False)
    model.process_weights_()
    assert not any(module.training for module in model.modules())
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["embed.W_E"]
    _, cache = model.run_with_cache(random_tokens())
    assert cache["blocks.0.attn.hook_result"].shape == (3, 7, 4, 12)
    assert cache["blocks.0.attn.hook_k"].shape == (3, 7, 4, 6)


def test_weights_of_another_model_are_loaded_and_processed():
    trained, model = order_one_model(seed=1), order_one(HookedTransformer(small_config()), seed=2)
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    model.load_and_process_state_dict(state, fold_value_biases=False, center_unembed=False)
    assert_close(model(random_tokens()), trained(random_tokens()), **CLOSE)
    assert model.b_V.any()
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in state.items())
    del state["blocks.1.attn.W_O"]
    with pytest.raises(CheckpointError, match=r"missing blocks\.1\.attn\.W_O; unexpected nothing"):
        order_one_model().load_and_process_state_dict(state)
    with pytest.raises(CheckpointError, match=r"no blocks\.1\.attn\.W_O"):
        order_one_model().center_writing_weights(state)


def test_weights_are_processed_in_the_precision_of_the_model():
    single = {name: value.float() for name, value in order_one_model(seed=1).state_dict().items()}
    from_single, from_double = order_one_model(), order_one_model()
    from_single.load_and_process_state_dict(single)
    from_double.load_and_process_state_dict({name: value.double() for name, value in single.items()})
    for name, value in from_single.state_dict().items():
        assert torch.equal(value, from_double.state_dict()[name])


def test_weights_that_no_longer_fit_their_dtype_are_refused():
    model = order_one_model(dtype=torch.float16)
    model.blocks[0].ln1.w.data.fill_(60000.0)
    model.W_Q[0].data.fill_(4.0)
    model.blocks[0].attn.W_Q.data.fill_(4.0)
    config = model.cfg
    with pytest.raises(CheckpointError, match="not finite"):
        model.process_weights_()
    assert model.cfg == config
