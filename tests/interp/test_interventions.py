import pytest
import torch

from interp import ShapeError, add, edited, freeze, intervene, mean, patch, resample, site, zero
from tests.conftest import order_one_model, random_tokens

Z = "blocks.1.attn.hook_z"


def test_patch_gives_the_logits_of_a_hook_that_assigns() -> None:
    model, clean, other = order_one_model(), random_tokens(seed=1), random_tokens(seed=2)
    _, cache = model.run_with_cache(other)
    cell = site(model, Z).at(head=2, pos=4)

    def assign(value: torch.Tensor, hook: object) -> torch.Tensor:
        value[:, 4, 2] = cache[Z][:, 4, 2]
        return value

    expected = model.run_with_hooks(clean, fwd_hooks=[(Z, assign)])
    assert torch.equal(intervene(model, clean, {cell: patch(cell.read(cache[Z]))}), expected)
    assert not torch.allclose(expected, model(clean))


@pytest.mark.parametrize("shape", [(1, 7, 4, 6), (7, 4, 6), (1, 1, 1, 1), (3, 6, 4, 6), (3, 4, 7, 6)])
def test_patch_broadcasts_only_when_asked(shape: tuple[int, ...]) -> None:
    model, tokens = order_one_model(), random_tokens()
    values = torch.randn(shape, dtype=torch.float64)
    with pytest.raises(ShapeError, match="broadcast is off"):
        intervene(model, tokens, {Z: patch(values)})
    if shape in ((3, 6, 4, 6), (3, 4, 7, 6)):
        with pytest.raises(ShapeError, match="do not broadcast"):
            intervene(model, tokens, {Z: patch(values, broadcast=True)})
    else:
        whole = values.expand(3, 7, 4, 6)
        assert torch.equal(
            intervene(model, tokens, {Z: patch(values, broadcast=True)}), intervene(model, tokens, {Z: patch(whole)})
        )


def test_zero_is_scaling_by_nothing() -> None:
    model, tokens = order_one_model(), random_tokens()
    assert torch.equal(intervene(model, tokens, {Z: zero()}), intervene(model, tokens, {Z: lambda z: 0 * z}))


def test_mean_is_the_prompts_mean_at_each_position() -> None:
    model, tokens = order_one_model(), random_tokens()
    _, cache = model.run_with_cache(random_tokens(batch=5, seed=3))
    expected = sum(cache[Z][prompt] for prompt in range(5)) / 5
    got = intervene(model, tokens, {Z: mean(cache[Z])})
    torch.testing.assert_close(got, intervene(model, tokens, {Z: patch(expected, broadcast=True)}))
    with pytest.raises(ShapeError, match="behind the prompts"):
        intervene(model, tokens, {Z: mean(cache[Z][:, :5])})


def test_resample_draws_whole_prompts_by_the_generator() -> None:
    model, tokens = order_one_model(), random_tokens()
    _, cache = model.run_with_cache(random_tokens(batch=5, seed=3))
    seen = []
    draw = resample(cache[Z], torch.Generator().manual_seed(4))
    intervene(model, tokens, {Z: lambda z: seen.append(draw(z)) or seen[-1]})
    expected = cache[Z][torch.randint(5, (3,), generator=torch.Generator().manual_seed(4))]
    assert torch.equal(seen[0], expected)
    with pytest.raises(ShapeError, match="behind the prompts"):
        intervene(model, tokens, {Z: resample(cache[Z][:, :5], torch.Generator())})


def test_add_steers_by_the_scale() -> None:
    model, tokens = order_one_model(), random_tokens()
    direction = torch.randn(12, dtype=torch.float64)
    name = "blocks.1.hook_resid_pre"
    got = intervene(model, tokens, {name: add(direction, scale=-2.5, broadcast=True)})
    torch.testing.assert_close(got, intervene(model, tokens, {name: lambda resid: resid - 2.5 * direction}))
    with pytest.raises(ShapeError, match="broadcast is off"):
        intervene(model, tokens, {name: add(direction)})


def test_a_frozen_pattern_keeps_an_upstream_edit_out_of_it() -> None:
    model, tokens = order_one_model(), random_tokens()
    name = "blocks.1.attn.hook_pattern"
    _, cache = model.run_with_cache(tokens)
    edits = {"blocks.0.hook_resid_pre": zero(), name: freeze(cache[name])}
    with edited(model, edits):
        _, after = model.run_with_cache(tokens)
    assert torch.equal(after[name], cache[name])
    assert not torch.allclose(after["blocks.1.attn.hook_v"], cache["blocks.1.attn.hook_v"])


def test_no_intervention_shares_memory_with_what_it_was_given() -> None:
    values = torch.randn(3, 7, dtype=torch.float64)
    activation = torch.randn(3, 7, dtype=torch.float64)
    kept = values.clone(), activation.clone()
    for intervention in (patch(values), freeze(values), mean(values), add(values), zero()):
        intervention(activation).zero_()
    resample(values, torch.Generator())(activation).zero_()
    assert torch.equal(values, kept[0])
    assert torch.equal(activation, kept[1])


def test_the_metric_is_applied_to_the_logits_and_gradients_flow() -> None:
    model, tokens = order_one_model(), random_tokens()
    vector = torch.zeros(3, 7, 12, dtype=torch.float64, requires_grad=True)
    value = intervene(model, tokens, {"blocks.0.hook_resid_post": add(vector)}, metric=lambda logits: logits[:, -1, 3])
    torch.testing.assert_close(value, model(tokens)[:, -1, 3])
    value.sum().backward()
    assert vector.grad is not None
    assert vector.grad.abs().max() > 0
