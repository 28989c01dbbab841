"""Scripts written for TransformerLens 3.9 run on our model, and what they find is found on a second road.

The same scripts run under TransformerLens 3.9.0 itself with `python -m tests.models.compat_live PYTHON`.
"""

from importlib import import_module
from itertools import product
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from tests.models.compat_models import SCRIPTS
from tests.models.compat_scripts.indirect_objects import logit_difference, prompts
from tests.models.compat_scripts.induction import LENGTH, repeated_tokens


@pytest.fixture(scope="module")
def results():
    """Each script's model and what the script returns, run once."""
    done = {}

    def result(name):
        if name not in done:
            model = SCRIPTS[name]()
            script = import_module(f"tests.models.compat_scripts.{name}")
            done[name] = model, script.run(model)
        return done[name]

    return result


@pytest.fixture(autouse=True)
def _as_a_notebook(as_users_run_it):
    # Notebooks switch gradients off once and for all; the next test must not feel it.
    before = torch.is_grad_enabled()
    yield
    torch.set_grad_enabled(before)


def test_there_is_a_test_for_every_script():
    scripts = {path.stem for path in (Path(__file__).parent / "compat_scripts").glob("*.py")} - {"__init__"}
    assert scripts == set(SCRIPTS)


def test_attributions_of_indirect_objects_sum_to_the_difference_of_the_logits(results):
    model, found = results("indirect_objects")
    tokens, _, answers = prompts(model)
    assert_close(found["differences"], logit_difference(model(tokens), answers, per_prompt=True))
    bias = (model.b_U[answers[:, 0]] - model.b_U[answers[:, 1]]).mean()
    for total in (found["from the end"], found["by layer"].sum(), found["accumulated"][-1]):
        assert_close(total + bias, found["differences"].mean())
    assert_close(found["by head"], found["by logit_attrs"])


def test_patching_sweeps_of_indirect_objects_equal_loops(results):
    model, found = results("indirect_objects")
    heads = found["patched heads"].to(found["patched heads by hand"])
    assert_close(heads, found["patched heads by hand"])
    assert_close(found["patched parts of heads"][0].to(heads), heads)
    assert_close(found["patched blocks"][0], found["patched streams"])
    tokens, corrupted, _ = prompts(model)
    (where,) = (tokens != corrupted).any(0).nonzero().flatten().tolist()
    # The prompts differ in one word: its embedding patched gives the clean run back, any other gives nothing.
    expected = torch.zeros(tokens.shape[1]).index_fill(0, torch.tensor([where]), 1)
    assert_close(found["patched streams"][0], expected, atol=1e-5, rtol=0)
    assert found["patched parts by position"].std() > 0.01


def test_direct_effects_equal_frozen_heads_written_out(results):
    model, found = results("indirect_objects")
    tokens, corrupted, answers = prompts(model)
    clean, other = model.run_with_cache(tokens)[1], model.run_with_cache(corrupted)[1]
    scale = found["differences"].mean() - logit_difference(model(corrupted), answers)
    for layer, head in product(range(3), range(4)):
        stream = clean["blocks.0.hook_resid_pre"]
        for block in range(3):
            z = clean["z", block].clone()
            if block == layer:
                z[:, :, head] = other["z", block][:, :, head]
            stream = stream + torch.einsum("bphe,hed->bpd", z, model.W_O[block]) + model.b_O[block]
            stream = stream + model.blocks[block].mlp(model.blocks[block].ln2(stream))
        change = logit_difference(model.unembed(model.ln_final(stream)), answers) - found["differences"].mean()
        assert_close(found["direct effects"][layer, head], 1 + change / scale)


def test_attribution_patching_is_the_gradient_times_the_difference(results):
    model, found = results("attribution_patching")
    tokens, corrupted, answers = prompts(model)
    clean, cache = model.run_with_cache(tokens)[1], model.run_with_cache(corrupted)[1]
    shares = []
    for layer in range(3):
        stream = cache["resid_pre", layer].clone().requires_grad_()
        with torch.enable_grad():
            value = logit_difference(model(stream, start_at_layer=layer), answers)
        (gradient,) = torch.autograd.grad(value, stream)
        shares.append(((clean["resid_pre", layer] - stream) * gradient).sum((0, 2)))
    assert_close(found["of resid_pre"], torch.stack(shares))
    assert_close(found["of the stream"][::2][:3], torch.stack(shares))
    assert_close(value.detach(), found["values"][1].double(), atol=1e-6, rtol=1e-6)
    # The gradient at the split inputs is what flows on through queries, keys and values.
    assert found["by inputs"].shape == (3 * 3, 4)
    assert found["by inputs"].min() > 0


def test_induction_heads_are_those_that_look_behind_the_last_occurrence(results):
    model, found = results("induction")
    tokens = repeated_tokens(model)
    cache = model.run_with_cache(tokens)[1]
    queries = torch.arange(LENGTH - 1, 2 * LENGTH + 1)
    for layer in range(2):
        stripe = cache["pattern", layer][:, :, queries, queries - (LENGTH - 1)]
        assert_close(found["induction scores"][layer], stripe.mean((0, 2)))
    assert_close(found["log probabilities"], -found["losses"])
    assert found["induction scores"].max() > 0.5
    head = int(found["induction scores"][1].argmax())
    # Silencing the strongest previous-token head takes the induction head's score away.
    before = int(found["previous token"][0].argmax())
    assert found["without a head before"][before, head] < 0.5 * found["induction scores"][1, head]


def test_attributions_of_induction_sum_to_the_logits(results):
    model, found = results("induction")
    tokens = repeated_tokens(model)[0]
    cache = model.run_with_cache(tokens[None])[1]
    biases = model.b_O.sum(0)
    share = (biases - biases.mean()) / cache["scale"][0, :-1]
    missing = (share * model.W_U[:, tokens[1:]].T).sum(-1) + model.b_U[tokens[1:]]
    assert_close(found["attributions"].sum(-1) + missing, found["next logits"])


def test_circuits_of_induction_equal_dense_matrices(results):
    model, found = results("induction")
    ov, qk = model.W_V @ model.W_O, model.W_Q @ model.W_K.transpose(-1, -2)
    dense = model.W_E @ ov[1, 2] @ model.W_U
    assert_close(found["copying"], dense.diagonal()[::7])
    assert_close(found["matching norm"], (model.W_E @ qk[1, 2] @ ov[0, 1].T @ model.W_E.T).norm())
    for head, reader in product(range(4), range(4)):
        product_norm = (ov[0, head] @ qk[1, reader].T).norm()
        score = product_norm / (ov[0, head].norm() * qk[1, reader].norm())
        assert_close(found["K"][0, head, 1, reader], score)
        assert_close(found["K by hand"][head, reader], score)


def test_head_detection_measures_the_share_of_the_pattern(results):
    model, found = results("head_detection")
    text = import_module("tests.models.compat_scripts.head_detection").TEXT
    cache = model.run_with_cache(text, remove_batch_dim=True)[1]
    patterns = torch.stack([cache["pattern", layer] for layer in range(2)])
    share = patterns.diagonal(-1, -2, -1).sum(-1) / patterns.sum((-1, -2))
    assert_close(found["previous_token_head"].to(share), share)
    assert_close(found["with a cache"].to(share), share)
    assert_close(found["to the first"].to(share), patterns[..., 0].sum(-1) / patterns.sum((-1, -2)))
    assert_close(found["by a pattern"], found["induction_head"])
    only = found["induction_head, one head"]
    assert only[1, 2] == found["induction_head"][1, 2]
    assert (only == -1).sum() == 7


def test_a_first_look_agrees_with_itself(results):
    model, found = results("first_look")
    assert found["string"].endswith("return os.path.join(path)\n")
    assert "".join(found["strings"]) == found["string"]
    for loss in found["loss"]:
        assert_close(loss, found["losses by token"].mean())
    assert_close(found["continued"], found["logits"])
    assert found["as text"] == found["without a cache"] == model.to_string(found["continued greedily"][0, 1:])
    assert_close(found["rebuilt"], model.W_Q[0, 1] @ model.W_K[0, 1].T)
    assert_close(found["squares"][1], torch.tensor([1.0, 7.0, 17.0]))
    assert len(found["prompt tested"]) == 5


def test_a_classifier_that_looks_away_from_padding_judges_each_text_as_if_alone(results):
    _, found = results("brackets")
    assert_close(found["together"], found["alone"])
    # Permanent hooks survive a reset, until it includes them.
    assert_close(found["after a reset"], found["together"])
    assert (found["with padding seen"] - found["together"]).abs().max() > 0.01
    assert found["patterns"][:, 1, :, :, 4:].max() == 0


def test_training_on_modular_addition_follows_the_gradient(results):
    _, found = results("grokking")
    assert found["losses"][1] == found["the first loss"]
    assert found["losses"][-1] < found["losses"][0]
    # A change of basis keeps the sum of squares: of the singular values, as of the embedding's waves.
    assert_close(found["embedding"].norm(), found["singular"].norm())
    assert found["attention"].sum(-1).allclose(torch.ones(49, 4, dtype=torch.float64))
