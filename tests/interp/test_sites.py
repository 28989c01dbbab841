import pytest
import torch

from interp import (
    AxisError,
    EmptyMatchError,
    OutOfRangeError,
    PointOffError,
    ShapeError,
    UnknownPointError,
    site,
    sites,
)
from tests.conftest import order_one_model, random_tokens


def test_a_site_knows_its_axes_and_the_sizes_that_the_model_fixes() -> None:
    z = site(order_one_model(), "blocks.1.attn.hook_z")
    assert z.axes == ("batch", "pos", "head", "d_head")
    assert z.sizes == (None, None, 4, 6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_key_value_heads": 2, "use_split_qkv_input": True},
        {"n_key_value_heads": 2, "ungroup_grouped_query_attention": True, "use_attn_in": True},
        {"gated_mlp": True, "positional_embedding_type": "rotary", "use_attn_result": True},
        {"act_fn": "solu_ln", "use_hook_mlp_in": True, "d_vocab_out": 11},
    ],
)
def test_the_sizes_are_those_of_the_activations(changes: dict[str, object]) -> None:
    model = order_one_model(**changes)
    _, cache = model.run_with_cache(random_tokens())
    grouped = model.cfg.use_split_qkv_input and model.cfg.n_key_value_heads
    for found in sites(model, "**"):
        if ".ln1." in found.name and grouped:
            continue  # fires three times, for as many heads as there are queries, keys and values
        shape = cache[found.name].shape
        assert len(shape) == len(found.sizes), found
        assert all(size in (None, n) for size, n in zip(found.sizes, shape, strict=True)), (found, shape)


def test_a_star_is_one_part_of_a_name_and_two_are_any_text() -> None:
    model = order_one_model()
    names = [found.name for found in sites(model, "blocks.*.attn.hook_z")]
    assert names == ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]
    assert [found.name for found in sites(model, "*.hook_scale")] == ["ln_final.hook_scale"]
    assert len(sites(model, "**hook_scale")) == 2 * model.cfg.n_layers + 1
    assert [found.name for found in sites(model, "hook_embed")] == ["hook_embed"]


def test_layers_may_be_a_number_a_slice_or_several() -> None:
    model = order_one_model(n_layers=5)

    def picked(layers: object) -> list[int]:
        return [int(found.name.split(".")[1]) for found in sites(model, "blocks.*.hook_resid_pre", layers=layers)]

    assert picked(3) == [3]
    assert picked(-1) == [4]
    assert picked(slice(1, 3)) == [1, 2]
    assert picked(slice(-2, None)) == [3, 4]
    assert picked([0, 4]) == [0, 4]


@pytest.mark.parametrize("layers", [5, -6, slice(3, 6), slice(5, 5), slice(2, 1), [0, 7]])
def test_a_layer_outside_the_model_is_refused(layers: object) -> None:
    model = order_one_model(n_layers=5)
    with pytest.raises(OutOfRangeError, match=r"the layers"):
        sites(model, "blocks.*.hook_resid_pre", layers=layers)


def test_points_that_are_off_are_left_out_of_a_pattern_but_refused_alone() -> None:
    model = order_one_model()
    assert not any("hook_result" in found.name for found in sites(model, "blocks.*.attn.*"))
    with pytest.raises(PointOffError, match="set_use_attn_result"):
        sites(model, "blocks.*.attn.hook_result")
    model.set_use_attn_result(True)
    assert len(sites(model, "blocks.*.attn.hook_result")) == 2


def test_an_empty_match_is_refused_unless_asked_for() -> None:
    model = order_one_model()
    with pytest.raises(EmptyMatchError, match=r"Did you mean 'blocks.0.attn.hook_z'"):
        sites(model, "blocks.*.attn.hok_z")
    assert sites(model, "blocks.*.attn.hok_z", allow_empty=True) == []
    with pytest.raises(UnknownPointError, match=r"Did you mean 'blocks.0.attn.hook_z'"):
        site(model, "blocks.0.atn.hook_z")


def test_an_index_is_by_name() -> None:
    z = site(order_one_model(), "blocks.0.attn.hook_z")
    assert z.index(head=3, pos=7) == (slice(None), 7, 3, slice(None))
    assert z.index(pos=7, head=3) == z.index(head=3, pos=7)
    assert z.index(head=torch.tensor(2)) == (slice(None), slice(None), 2, slice(None))
    with pytest.raises(AxisError, match="no axis 'layer'; it has batch, pos, head, d_head"):
        z.index(layer=0)
    with pytest.raises(TypeError):
        z.index(head=1.5)


@pytest.mark.parametrize("head", [4, -5, slice(4, 5), slice(2, 9), slice(-9, 2), slice(3, 3), slice(3, 1)])
def test_an_index_outside_its_axis_is_refused_and_the_range_told(head: object) -> None:
    z = site(order_one_model(), "blocks.0.attn.hook_z")
    with pytest.raises(OutOfRangeError, match=r"head of blocks.0.attn.hook_z"):
        z.index(head=head)


@pytest.mark.parametrize("head", [0, 3, -4, slice(None), slice(3, 4), slice(-4, None), slice(0, 4, 2)])
def test_an_index_inside_its_axis_is_taken(head: object) -> None:
    z = site(order_one_model(), "blocks.0.attn.hook_z")
    activation = torch.arange(3 * 7 * 4 * 6).reshape(3, 7, 4, 6)
    assert torch.equal(z.at(head=head).read(activation), activation[:, :, head])


def test_a_cell_reads_and_writes_its_part_alone() -> None:
    cell = site(order_one_model(), "blocks.0.attn.hook_z").at(head=1, pos=slice(2, 4))
    activation = torch.randn(3, 7, 4, 6)
    before = activation.clone()
    assert cell.axes == ("batch", "pos", "d_head")
    assert str(cell) == "blocks.0.attn.hook_z[pos=2:4, head=1]"
    written = cell.written(activation, torch.zeros(3, 2, 6))
    assert torch.equal(activation, before)
    assert not written[:, 2:4, 1].any()
    untouched = torch.ones_like(activation, dtype=torch.bool)
    untouched[:, 2:4, 1] = False
    assert torch.equal(written[untouched], activation[untouched])


def test_cells_are_keys() -> None:
    z = site(order_one_model(), "blocks.0.attn.hook_z")
    assert {z.at(head=1): "a", z.at(head=slice(1, 2)): "b"}[z.at(head=slice(1, 2))] == "b"
    assert len({z.at(head=1), z.at(head=1), z.at(pos=1)}) == 2


def test_a_cell_refuses_an_activation_of_other_axes_and_a_position_the_run_does_not_have() -> None:
    z = site(order_one_model(), "blocks.0.attn.hook_z")
    with pytest.raises(ShapeError, match=r"not \(batch=\? pos=\? head=4 d_head=6\)"):
        z.at(head=1).read(torch.zeros(3, 4, 7, 6))
    with pytest.raises(OutOfRangeError, match=r"7 is outside pos of .*0 to 6"):
        z.at(pos=7).read(torch.zeros(3, 7, 4, 6))
    assert z.at(pos=6).read(torch.zeros(3, 7, 4, 6)).shape == (3, 4, 6)
