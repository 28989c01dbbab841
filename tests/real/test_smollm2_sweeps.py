"""The exact engine on a real model and a real task: what hooks give, and what must come out by construction."""

import json

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from analyses.cli import cli
from interp import Effects, PromptPairs, built_in, sweep
from models import HookedTransformer

SAMPLE = {("resid_pre", 0): (4, -1), ("resid_pre", 14): (4, 9, -1), ("z", 7): (0, 5), ("z", 29): (3,)}
"""By point and layer: positions, or heads."""


@pytest.fixture(scope="module")
def pairs(ours: HookedTransformer) -> PromptPairs:
    return built_in("ioi", n_prompts=2).on(ours, most_common_length=True)


@pytest.fixture(scope="module")
def by_position(ours: HookedTransformer, pairs: PromptPairs) -> Effects:
    return swept(ours, pairs, "resid_pre", "pos")


@pytest.fixture(scope="module")
def by_head(ours: HookedTransformer, pairs: PromptPairs) -> Effects:
    return swept(ours, pairs, "z", "head")


def swept(model: HookedTransformer, pairs: PromptPairs, point: str, axis: str) -> Effects:
    return sweep(
        model, pairs.clean, pairs.corrupted, point, ("layer", axis), pairs.metric,
        direction="denoising", engine="wavefront", progress=False,
    )  # fmt: skip


@torch.no_grad()
def patched(model: HookedTransformer, pairs: PromptPairs, point: str, layer: int, at: int) -> Tensor:
    """The metric of the corrupted run with one cell of the clean one, by a hook and a whole forward pass."""
    name = f"blocks.{layer}.{'attn.hook_z' if point == 'z' else 'hook_resid_pre'}"
    place = (slice(None), slice(None), at) if point == "z" else (slice(None), at)
    _, clean = model.run_with_cache(pairs.clean, names_filter=[name])

    def patch(activation: Tensor, hook: object) -> Tensor:
        changed = activation.clone()
        changed[place] = clean[name][place]
        return changed

    return pairs.metric(model.run_with_hooks(pairs.corrupted, fwd_hooks=[(name, patch)]))


@pytest.mark.parametrize(("point", "layer"), SAMPLE)
def test_cells_are_what_a_hook_and_a_forward_pass_give(
    point: str, layer: int, ours: HookedTransformer, pairs: PromptPairs, by_position: Effects, by_head: Effects
) -> None:
    effects = by_head if point == "z" else by_position
    for at in SAMPLE[point, layer]:
        # Logits of this model are of order ten, in float32.
        assert float((effects.values[:, layer, at] - patched(ours, pairs, point, layer, at)).abs().max()) < 1e-4


def test_the_stream_at_the_changed_name_is_all_there_is_at_first_and_at_the_end_it_is_the_last_position(
    by_position: Effects, pairs: PromptPairs
) -> None:
    effects = by_position.values - by_position.corrupted[:, None, None]
    whole = by_position.clean - by_position.corrupted
    differs = pairs.clean != pairs.corrupted
    assert bool((differs.sum(dim=1) == 1).all())
    before = (differs.cumsum(dim=1) == 0)[:, None].expand_as(effects)
    assert float(effects[before].abs().max()) == 0
    for prompt, changed in enumerate(differs):
        torch.testing.assert_close(effects[prompt, 0, changed], whole[prompt, None], atol=1e-4, rtol=0)
        assert float(effects[prompt, 0, ~changed].abs().max()) == 0
    # In between the name is carried to where it is asked for.
    assert bool((effects[:, -1, -1] > 0.5 * whole).all())
    assert bool((effects[:, 15, -1] < 0.5 * whole).all())


def test_few_heads_move_the_answer_and_most_do_not(by_head: Effects) -> None:
    shares = (by_head.values - by_head.corrupted[:, None, None]).mean(0) / (by_head.clean - by_head.corrupted).mean()
    layer, head = divmod(int(shares.argmax()), shares.shape[1])
    print(f"indirect objects: {layer}.{head} brings back {float(shares.max()):.0%} alone")
    assert float(shares.max()) > 0.1
    assert float(shares.abs().median()) < 0.01


def test_the_command_names_the_heads_of_a_task() -> None:
    result = CliRunner().invoke(cli, ["tasks", "smollm2", "--tasks", "ioi", "--pairs", "12", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    print(found["verdict"])
    assert found["numbers"]["ioi_heads_beyond_chance"] >= 1
    assert found["numbers"]["ioi_strongest_head"] in found["verdict"]
    assert found["numbers"]["ioi_strongest_share"] > 0.1
