"""`edited` on our model and on TransformerLens' bridge. The faults it must survive are in tests/test_faults.py."""

import subprocess
import sys

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from interp import EmptyMatchError, HookedModel, PointOffError, UnknownPointError, edited, site, sites, zero
from tests.conftest import SMALL, order_one_model, random_tokens

Z = "blocks.0.attn.hook_z"


def native_bridge() -> TransformerBridge:
    """TransformerLens 4's own small model, with weights of order one."""
    config = {name: SMALL[name] for name in ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "d_vocab", "n_ctx")}
    bridge = TransformerBridge.boot_native({**config, "act_fn": "gelu", "normalization_type": "LN", "seed": 0})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in bridge.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return bridge.eval()


def test_an_edit_gives_the_logits_of_a_hook() -> None:
    model, tokens = order_one_model(), random_tokens()
    expected = model.run_with_hooks(tokens, fwd_hooks=[(Z, lambda value, hook: 2 * value)])
    with edited(model, {Z: lambda z: 2 * z}) as fired:
        got = model(tokens)
        assert fired == {Z: 1}
        model(tokens)
    assert fired == {Z: 2}
    assert torch.equal(got, expected)
    assert not torch.allclose(got, model(tokens))


def test_an_edit_may_ask_for_its_site() -> None:
    model, tokens = order_one_model(), random_tokens()
    seen = []
    with edited(model, {Z: lambda z, where: seen.append(where) or z}):
        model(tokens)
    assert seen == [site(model, Z)]


def test_a_cell_s_edit_is_given_its_part_alone() -> None:
    model, tokens = order_one_model(), random_tokens()
    cell = site(model, Z).at(head=2, pos=slice(3, 5))
    shapes = []

    def doubled(part: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(part.shape))
        return 2 * part

    def whole(z: torch.Tensor) -> torch.Tensor:
        scale = torch.ones_like(z)
        scale[:, 3:5, 2] = 2
        return scale * z

    with edited(model, {cell: doubled}):
        got = model(tokens)
    with edited(model, {Z: whole}):
        expected = model(tokens)
    assert shapes == [(3, 2, 6)]
    assert torch.equal(got, expected)


def test_names_sites_and_cells_are_all_places() -> None:
    model, tokens = order_one_model(), random_tokens()
    outputs = []
    for place in (Z, site(model, Z), site(model, Z).at()):
        with edited(model, {place: zero()}):
            outputs.append(model(tokens))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    with pytest.raises(EmptyMatchError, match="empty"), edited(model, {}):
        pass


def test_every_point_of_a_model_can_be_edited_at_once() -> None:
    model, tokens = order_one_model(use_split_qkv_input=True, use_attn_result=True), random_tokens()
    everywhere = {found.name: lambda activation: activation for found in sites(model, "**")}
    with edited(model, everywhere) as fired:
        got = model(tokens)
    assert all(fired.values())
    torch.testing.assert_close(got, model(tokens))


def test_gradients_flow_through_an_edit() -> None:
    model, tokens = order_one_model(), random_tokens()
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    cell = site(model, Z).at(head=1)
    with edited(model, {cell: lambda z: scale * z}):
        model(tokens)[:, -1].sum().backward()

    def total(factor: float) -> torch.Tensor:
        with torch.no_grad(), edited(model, {cell: lambda z: factor * z}):
            return model(tokens)[:, -1].sum()

    # Central differences have an error of the order of the squared step.
    expected = (total(1.5 + 1e-5) - total(1.5 - 1e-5)) / 2e-5
    torch.testing.assert_close(scale.grad, expected, rtol=1e-6, atol=1e-6)


def test_both_kinds_of_model_meet_the_protocol() -> None:
    assert isinstance(order_one_model(), HookedModel)
    assert isinstance(native_bridge(), HookedModel)
    assert not isinstance(torch.nn.Linear(2, 3), HookedModel)


def test_a_bridge_is_edited_like_our_model() -> None:
    bridge, tokens = native_bridge(), random_tokens()
    before = bridge(tokens)
    cell = site(bridge, Z).at(head=3, pos=2)
    assert cell.axes == ("batch", "d_head")
    with edited(bridge, {cell: zero()}) as fired:
        got = bridge(tokens)

    def assign(value: torch.Tensor, hook: object) -> torch.Tensor:
        value = value.clone()
        value[:, 2, 3] = 0
        return value

    assert fired == {str(cell): 1}
    assert torch.equal(got, bridge.run_with_hooks(tokens, fwd_hooks=[(Z, assign)]))
    assert not torch.allclose(got, before)
    assert torch.equal(bridge(tokens), before)
    assert not any(point.fwd_hooks for point in bridge.hook_dict.values())


def test_a_bridge_s_unknown_and_gated_points_are_refused() -> None:
    bridge = native_bridge()
    with pytest.raises(UnknownPointError, match="Did you mean"), edited(bridge, {"blocks.0.attn.hok_z": zero()}):
        pass
    result = "blocks.0.attn.hook_result"
    with pytest.raises(PointOffError, match="set_use_attn_result"), edited(bridge, {result: zero()}):
        pass
    with edited(bridge, {"blocks.0.hook_attn_out": zero()}):
        bridge(random_tokens())


def test_importing_the_library_pulls_nothing_heavy() -> None:
    heavy = ("transformer_lens", "transformers", "plotly", "pandas", "torch._dynamo")
    code = f"import sys, interp; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
