"""The model as a whole: what it takes, what it refuses, where it starts and stops, and how it moves and copies."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from models import HookedTransformer
from models.errors import InputError
from tests.conftest import order_one_model, random_tokens, small_config

ROOT = Path(__file__).parents[2]
VARIANTS = {
    "pre": {},
    "post": {"norm_placement": "post"},
    "parallel": {"parallel_attn_mlp": True},
    "attn_only": {"attn_only": True},
    "rotary": {"positional_embedding_type": "rotary"},
    "shortformer": {"positional_embedding_type": "shortformer"},
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())


def test_fused_and_materialised_attention_give_the_same_logits():
    model, tokens = order_one_model(), random_tokens()
    logits, _ = model.run_with_cache(tokens)
    assert_close(logits, model(tokens))


def test_logits_of_a_prefix_do_not_depend_on_what_follows():
    model, tokens = order_one_model(), random_tokens()
    assert_close(model(tokens)[:, :4], model(tokens[:, :4]))


# Start and stop.


@variants
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_run_in_two_parts_is_the_whole_run(changes, layer):
    model, tokens = order_one_model(n_layers=3, **changes), random_tokens()
    stream = model(tokens, stop_at_layer=layer)
    assert_close(model(stream, start_at_layer=layer), model(tokens))
    _, cache = model.run_with_cache(tokens)
    expected = cache["blocks.2.hook_resid_post"] if layer == 3 else cache[f"blocks.{layer}.hook_resid_pre"]
    assert_close(stream, expected)


PARTS = [(1, None), (None, 1), (1, 2), (-1, None), (None, -1), (3, None), (None, 0)]


@pytest.mark.parametrize(("start", "stop"), PARTS)
def test_layers_outside_the_range_are_not_computed(start, stop, monkeypatch):
    model, tokens = order_one_model(n_layers=3), random_tokens()
    given = tokens if start is None else model(tokens, stop_at_layer=start)
    called, unembedded = [], []
    for layer, block in enumerate(model.blocks):

        def counted(*args, layer=layer, forward=block.forward):
            called.append(layer)
            return forward(*args)

        monkeypatch.setattr(block, "forward", counted)
    model.unembed.register_forward_hook(lambda *args: unembedded.append(True))
    model(given, start_at_layer=start, stop_at_layer=stop)
    assert called == list(range(3))[start:stop]
    assert len(unembedded) == (stop is None)


def test_a_part_with_padding_is_the_whole_run_with_padding():
    model, tokens = order_one_model(), random_tokens()
    mask = torch.ones(3, 7, dtype=torch.long)
    mask[:, :2] = 0
    stream = model(tokens, stop_at_layer=1, attention_mask=mask)
    assert_close(model(stream, start_at_layer=1, attention_mask=mask), model(tokens, attention_mask=mask))


@pytest.mark.parametrize("name", ["start_at_layer", "stop_at_layer"])
def test_a_layer_that_is_not_there_is_refused(name):
    model, tokens = order_one_model(), random_tokens()
    given = {"start_at_layer": model(tokens, stop_at_layer=0), "stop_at_layer": tokens}[name]
    for layer in (3, -3):
        with pytest.raises(InputError, match=f"{name}={layer} is outside -2 to 2"):
            model(given, **{name: layer})
    for layer in (2, -2):
        model(given, **{name: layer})


def test_a_run_from_the_middle_takes_a_stream_and_nothing_else():
    model, tokens = order_one_model(), random_tokens()
    stream = model(tokens, stop_at_layer=1)
    for wrong, given in ((tokens, r"\[3, 7\]"), (stream[..., :5], r"\[3, 7, 5\]"), ("text", "str")):
        with pytest.raises(InputError, match=rf"needs a stream \[batch, pos, 12\] as input, not {given}"):
            model(wrong, start_at_layer=1)
    with pytest.raises(InputError, match="12 positions are more than the model's context of 9"):
        model(torch.cat([stream, stream[:, :5]], dim=1), start_at_layer=1)


# Tokens.

REFUSED_TOKENS = {
    "too large": ([[3, 17]], "range from 3 to 17; the vocabulary is 0 to 16"),
    "negative": ([[-1, 16]], "range from -1 to 16"),
    "float": ([[1.0, 2.0]], "whole numbers, not torch.float32"),
    "bool": ([[True]], "whole numbers, not torch.bool"),
    "no positions": ([[]], r"not \[1, 0\]"),
    "three axes": ([[[1]]], r"not \[1, 1, 1\]"),
    "number": (3, r"not \[\]"),
    "too long": ([[1] * 10], "10 positions are more than the model's context of 9"),
}


@pytest.mark.parametrize(("tokens", "message"), REFUSED_TOKENS.values(), ids=REFUSED_TOKENS.keys())
def test_tokens_that_cannot_be_are_refused(tokens, message):
    model = order_one_model()
    with pytest.raises(InputError, match=message):
        model(torch.tensor(tokens))
    model(torch.tensor([[0, 16] + [1] * 7]))


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match=r"not \[0, 4\]"):
        order_one_model()(torch.zeros(0, 4, dtype=torch.long))


def test_a_row_of_tokens_is_a_batch_of_one_and_one_token_is_enough():
    model, tokens = order_one_model(), random_tokens()
    assert_close(model(tokens[0]), model(tokens[:1]))
    assert_close(model(tokens[:, :1]), model(tokens)[:, :1])
    assert_close(model(tokens.int()), model(tokens))


def test_a_mask_of_another_shape_is_refused():
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(InputError, match=r"attention_mask has shape \[3, 6\]; the tokens have \[3, 7\]"):
        model(tokens, attention_mask=torch.ones(3, 6))
    assert_close(model(tokens, attention_mask=torch.ones(3, 7)), model(tokens))


@pytest.mark.parametrize("changes", [
    {"n_heads": 1}, {"n_layers": 1}, {"d_head": 1}, {"d_model": 1}, {"n_ctx": 1}, {"d_vocab": 1}, {"d_mlp": 1},
    {"n_key_value_heads": 1},
], ids=str)  # fmt: skip
def test_the_smallest_models_run(changes):
    model = order_one_model(**changes)
    tokens = random_tokens(length=min(7, model.cfg.n_ctx), d_vocab=model.cfg.d_vocab)
    logits, cache = model.run_with_cache(tokens)
    assert logits.isfinite().all()
    assert_close(model(tokens), logits)
    assert len(cache) == len(model.points(None))


# Moving and copying.


@pytest.mark.parametrize(
    ("move", "dtype"),
    [
        (lambda model: model.to(torch.float32), torch.float32),
        (lambda model: model.float(), torch.float32),
        (lambda model: model.half(), torch.float16),
        (lambda model: model.bfloat16(), torch.bfloat16),
        (lambda model: model.float().double(), torch.float64),
        (lambda model: copy.deepcopy(model).float(), torch.float32),
    ],
)
@variants
def test_the_config_follows_the_dtype(changes, move, dtype):
    model, tokens = order_one_model(**changes), random_tokens()
    moved = move(model)
    assert moved.cfg.dtype == dtype == moved.W_E.dtype
    assert {buffer.dtype for buffer in moved.buffers()} <= {dtype}
    logits, cache = moved.run_with_cache(tokens)
    assert logits.dtype == dtype
    assert logits.isfinite().all()
    assert cache["blocks.0.attn.hook_z"].dtype == dtype
    assert_close(moved(tokens), logits, rtol=0.1, atol=0.5 if dtype.itemsize == 2 else 1e-3)


def test_the_config_follows_the_device():
    model = order_one_model()
    assert model.to("meta").cfg.device == "meta"
    assert order_one_model().cfg.device == "cpu"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_near_the_exact_logits(dtype):
    exact, tokens = order_one_model(), random_tokens()
    model = order_one_model()
    model.load_state_dict({name: weight / 4 for name, weight in model.state_dict().items()})
    exact.load_state_dict(model.state_dict())
    difference = (model.to(dtype)(tokens).double() - exact(tokens)).abs().max()
    # 24 roundings of at most 2^-8 (bfloat16) each, on logits of order one.
    assert 0 < difference < 24 * 2**-8


@variants
def test_a_copy_is_equal_and_independent(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    logits, (_, cache) = model(tokens), model.run_with_cache(tokens)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(tokens), logits)
        assert_close(dict(copied.run_with_cache(tokens)[1]), dict(cache))
        copied.add_hook("blocks.0.hook_resid_pre", lambda stream, hook: 0 * stream)
        assert not torch.equal(copied(tokens), logits)
        assert torch.equal(model(tokens), logits)
        with torch.no_grad():
            copied.blocks[0].attn.W_Q.zero_()
        assert model.blocks[0].attn.W_Q.abs().max() > 0


def test_training_changes_every_parameter_that_matters():
    model, tokens = order_one_model(), random_tokens()
    model(tokens, return_type="loss").backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad.abs().max() < 1e-12}
    # Softmax does not see a shift of all scores of a query (the key bias).
    assert without == {"blocks.0.attn.b_K", "blocks.1.attn.b_K"}


def test_every_parameter_is_a_leaf_on_which_an_optimiser_steps():
    model, tokens = order_one_model(n_key_value_heads=2), random_tokens()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    before = model(tokens, return_type="loss")
    before.backward()
    optimiser.step()
    assert model(tokens, return_type="loss") < before


# torch.compile.


COMPILED = """
import torch
from tests.conftest import order_one_model, random_tokens

model, tokens, name = order_one_model(n_layers=1), random_tokens(), "blocks.0.attn.hook_pattern"
doubled = [(name, lambda pattern, hook: 2 * pattern)]
with torch.no_grad():
    compiled = torch.compile(model, backend="eager")
    plain, edited = model(tokens), model.run_with_hooks(tokens, fwd_hooks=doubled)
    assert (plain - edited).abs().max() > 0.1
    torch.testing.assert_close(compiled(tokens), plain)
    with model.hooks(fwd_hooks=doubled):
        torch.testing.assert_close(compiled(tokens), edited)
    torch.testing.assert_close(compiled(tokens), plain)
    model.add_hook(*doubled[0])
    torch.testing.assert_close(compiled(tokens), edited)
    model.reset_hooks()
    cache = compiled.run_with_cache(tokens)[1]
    torch.testing.assert_close(cache[name], model.run_with_cache(tokens)[1][name])
"""


def test_hooks_added_after_torch_compile_fire():
    # In a process of its own: the compiler cannot trace the shape checks that the tests install.
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_model_from_a_dictionary_is_the_model_from_a_config():
    assert HookedTransformer(small_config().to_dict()).cfg == HookedTransformer(small_config()).cfg


def test_arguments_that_would_be_ignored_are_refused():
    model, tokens = order_one_model(), random_tokens()
    stream = model(tokens, stop_at_layer=1)
    with pytest.raises(InputError, match="returns the stream: it has no loss"):
        model(tokens, stop_at_layer=1, return_type="loss")
    with pytest.raises(InputError, match="start_at_layer=1 lies behind stop_at_layer=0"):
        model(stream, start_at_layer=1, stop_at_layer=0)
    with pytest.raises(InputError, match="targets of a run with start_at_layer"):
        model(tokens, tokens=tokens)
    with pytest.raises(InputError, match=r"the stream has torch.float32, the model's weights torch.float64"):
        model(stream.float(), start_at_layer=1)
    with pytest.raises(InputError, match="nothing but 0"):
        model(tokens, attention_mask=torch.full(tokens.shape, 0.5))
    loss = model(stream, start_at_layer=1, tokens=tokens, return_type="loss")
    assert_close(loss, model(tokens, return_type="loss", attention_mask=torch.ones_like(tokens)))
    assert torch.equal(model(stream, start_at_layer=1, stop_at_layer=1), stream)


def test_a_weight_that_the_model_does_not_have_is_said_and_hasattr_says_no():
    rotary, attention_only = (
        order_one_model(positional_embedding_type="rotary", rotary_dim=6),
        order_one_model(attn_only=True),
    )
    for model, names, reason in (
        (rotary, ("W_pos", "W_E_pos"), "a model with rotary positions has no"),
        (attention_only, ("W_in", "W_out", "b_in", "b_out"), "this model is attention-only: it has no"),
    ):
        for name in names:
            assert not hasattr(model, name)
            assert getattr(model, name, None) is None
            for kind in (InputError, AttributeError):
                with pytest.raises(kind, match=f"{reason} {name}"):
                    getattr(model, name)
    assert hasattr(rotary, "W_in")
    assert hasattr(attention_only, "W_E_pos")
    assert attention_only.W_gate is None
    with pytest.raises(AttributeError, match="no attribute 'W_posi'"):
        rotary.W_posi  # noqa: B018
