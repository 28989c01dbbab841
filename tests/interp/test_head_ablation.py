from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from interp.errors import NotASumError, PointOffError
from interp.head_ablation import head_outputs, mean_ablation, path_ablation
from interp.hooks import edited
from interp.in_context import next_token_losses
from interp.interventions import freeze
from interp.repeated_tokens import repeated_random_tokens
from interp.sites import site

from ..conftest import order_one_model, random_tokens
from .induction_model import induction_model

EVERY = [(layer, head) for layer in (0, 1) for head in range(4)]


def split(model):
    model.set_use_split_qkv_input(True)
    return model


def run(model, tokens, edits, names=()):
    with torch.no_grad(), edited(model, edits):
        logits, cache = model.run_with_cache(tokens, names_filter=list(names) or ["blocks.0.hook_resid_pre"])
    return logits, cache


def test_a_head_put_to_its_mean_writes_the_mean_and_nothing_else_of_its_layer_moves():
    model, tokens, others = order_one_model(), random_tokens(), random_tokens(5, seed=3)
    reference = head_outputs(model, others, [1])
    name = "blocks.1.attn.hook_z"
    _, cache = run(model, tokens, mean_ablation(model, [(1, 2)], reference), [name])
    clean = head_outputs(model, tokens, [1])[1]
    assert_close(cache[name][:, :, 2], reference[1][:, :, 2].mean(dim=0).expand(3, -1, -1))
    for head in (0, 1, 3):
        assert_close(cache[name][:, :, head], clean[:, :, head])


def test_heads_put_to_their_own_output_change_nothing():
    model, tokens = order_one_model(), random_tokens()
    outputs = head_outputs(model, tokens, [0, 1])
    cells = {site(model, f"blocks.{n}.attn.hook_z").at(head=h): freeze(outputs[n][:, :, h]) for n, h in EVERY}
    assert_close(run(model, tokens, cells)[0], model(tokens).detach(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"normalization_type": "RMS"}, {"positional_embedding_type": "rotary"}])
def test_writers_hidden_from_all_three_inputs_of_all_readers_are_writers_ablated(changes):
    model = split(order_one_model(attn_only=True, **changes))
    tokens, others = random_tokens(), random_tokens(5, seed=3)
    writers, readers = [(0, 1), (0, 3)], [(1, head) for head in range(4)]
    outputs, reference = head_outputs(model, tokens, [0]), head_outputs(model, others, [0])
    name = "blocks.1.hook_attn_out"
    _, ablated = run(model, tokens, mean_ablation(model, writers, reference), [name])
    hidden = path_ablation(model, writers, readers, "qkv", outputs, reference)
    assert len(hidden) == 12
    _, by_path = run(model, tokens, hidden, [name])
    assert_close(by_path[name], ablated[name])
    _, keys_alone = run(model, tokens, path_ablation(model, writers, readers, "k", outputs, reference), [name])
    assert float((keys_alone[name] - ablated[name]).abs().max()) > 1e-3


def test_a_writer_hidden_from_one_reader_is_seen_by_the_others():
    model = split(order_one_model())
    tokens, others = random_tokens(), random_tokens(5, seed=3)
    outputs, reference = head_outputs(model, tokens, [0]), head_outputs(model, others, [0])
    edits = path_ablation(model, [(0, 1)], [(1, 2)], "k", outputs, reference)
    _, cache = run(model, tokens, edits, ["blocks.1.attn.hook_pattern"])
    _, clean = model.run_with_cache(tokens, names_filter=["blocks.1.attn.hook_pattern"])
    moved = (cache["pattern", 1] - clean["pattern", 1]).abs().amax(dim=(0, 2, 3))
    assert float(moved[2]) > 1e-3
    assert float(moved[[0, 1, 3]].max()) < 1e-12


def test_of_grouped_heads_one_alone_is_reached_where_they_are_ungrouped():
    model = split(order_one_model(n_key_value_heads=2))
    model.set_ungroup_grouped_query_attention(True)
    tokens = random_tokens()
    outputs, reference = head_outputs(model, tokens, [0]), head_outputs(model, random_tokens(5, seed=3), [0])
    edits = path_ablation(model, [(0, 1)], [(1, 3)], "v", outputs, reference)
    _, cache = run(model, tokens, edits, ["blocks.1.attn.hook_z"])
    moved = (cache["blocks.1.attn.hook_z"] - head_outputs(model, tokens, [1])[1]).abs().amax(dim=(0, 1, 3))
    assert float(moved[3]) > 1e-3
    assert float(moved[:3].max()) < 1e-12


def test_in_the_model_made_by_hand_induction_goes_through_the_keys_alone():
    model = split(induction_model())
    generator = torch.Generator().manual_seed(0)
    repeated, other = (repeated_random_tokens(model, 6, generator, length=6, copies=2) for _ in range(2))
    outputs, reference = (head_outputs(model, some.tokens, [0]) for some in (repeated, other))
    clean = repeated.losses_of_copy(next_token_losses(model, repeated.tokens), 1)[:, 1:]
    assert float(clean.max()) < 0.01
    for through, at_least, at_most in (("k", 1.0, 99.0), ("q", 0.0, 0.01), ("v", 0.0, 0.01)):
        edits = path_ablation(model, [(0, 0)], [(1, 0)], through, outputs, reference)
        with edited(model, edits):
            losses = repeated.losses_of_copy(next_token_losses(model, repeated.tokens), 1)[:, 1:]
        assert at_least <= float(losses.mean()) <= at_most, through


def test_a_reader_before_the_writer_sees_nothing_of_it():
    model, tokens = split(order_one_model()), random_tokens()
    outputs = head_outputs(model, tokens, [1])
    assert path_ablation(model, [(1, 1)], [(1, 2), (0, 0)], "qkv", outputs, outputs) == {}


def test_what_has_no_paths_is_refused():
    model, tokens = order_one_model(), random_tokens()
    outputs = head_outputs(model, tokens, [0])
    arguments = ([(0, 1)], [(1, 2)], "k", outputs, outputs)
    with pytest.raises(PointOffError, match="use_split_qkv_input"):
        path_ablation(model, *arguments)
    assert len(path_ablation(split(deepcopy(model)), *arguments)) == 1
    with pytest.raises(NotASumError, match="no sum"):
        path_ablation(split(order_one_model(norm_placement="post")), *arguments)
