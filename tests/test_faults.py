"""The faults that hooks must survive, one test a fault: what happens instead of a silent wrong number."""

import gc
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch

from interp import (
    AxisError,
    CompiledModelError,
    EmptyMatchError,
    HookNeverFiredError,
    HookReturnError,
    NonFiniteError,
    OutOfRangeError,
    PointOffError,
    ShapeError,
    UnchangedError,
    UnknownPointError,
    edited,
    intervene,
    patch,
    site,
    sites,
    zero,
)
from interp.hooks import _acting
from models import HookedTransformer
from tests.conftest import order_one_model, random_tokens

Z = "blocks.0.attn.hook_z"
SCORES = "blocks.0.attn.hook_attn_scores"


def census(model: HookedTransformer) -> dict[str, tuple[object, ...]]:
    """Every hook of every module, by identity and in order, and every point's context."""
    return {
        name: (
            *(tuple(map(id, getattr(module, kind, ()))) for kind in ("fwd_hooks", "bwd_hooks")),
            *(
                tuple((key, id(hook)) for key, hook in getattr(module, kind).items())
                for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
            ),
            dict(getattr(module, "ctx", {})),
        )
        for name, module in model.named_modules()
    }


def test_01_a_typo_in_a_name_is_refused_before_any_compute() -> None:
    model, calls = order_one_model(), []
    before = census(model)
    suggestion = r"Did you mean 'blocks.0.attn.hook_z'"
    with pytest.raises(UnknownPointError, match=suggestion), edited(model, {"blocks.0.attn.hok_z": zero()}):
        calls.append(model(random_tokens()))
    assert not calls
    assert census(model) == before
    with edited(model, {Z: zero()}):
        model(random_tokens())


def test_02_a_pattern_that_matches_nothing_is_refused() -> None:
    model = order_one_model()
    with pytest.raises(EmptyMatchError, match="matches none"):
        sites(model, "block.*.attn.hook_z")
    assert sites(model, "block.*.attn.hook_z", allow_empty=True) == []
    assert len(sites(model, "blocks.*.attn.hook_z")) == 2


@pytest.mark.parametrize("head", [4, -5, slice(9, 10), slice(4, 5), slice(0, 5)])
def test_03_an_index_or_slice_out_of_range_is_refused(head: object) -> None:
    z = site(order_one_model(), Z)
    with pytest.raises(OutOfRangeError, match=r"0 to [34]|selects nothing"):
        z.at(head=head)
    z.at(head=3)
    z.at(head=slice(3, 4))


def test_03_a_position_beyond_the_prompt_is_refused_when_it_is_known() -> None:
    model = order_one_model()
    cell = site(model, Z).at(pos=slice(7, 8))
    with pytest.raises(OutOfRangeError, match="7:8 is outside pos"), edited(model, {cell: zero()}):
        model(random_tokens(length=7))
    with edited(model, {cell: zero()}):
        model(random_tokens(length=8))


@pytest.mark.parametrize(
    ("name", "switch"),
    [
        ("attn.hook_result", "use_attn_result"),
        ("hook_q_input", "use_split_qkv_input"),
        ("hook_k_input", "use_split_qkv_input"),
        ("hook_v_input", "use_split_qkv_input"),
        ("hook_attn_in", "use_attn_in"),
        ("hook_mlp_in", "use_hook_mlp_in"),
    ],
)
def test_04_a_point_that_is_switched_off_is_refused_at_registration(name: str, switch: str) -> None:
    model, name = order_one_model(), f"blocks.1.{name}"
    with pytest.raises(PointOffError, match=f"set_{switch}"), edited(model, {name: zero()}):
        pass
    getattr(model, f"set_{switch}")(True)
    with edited(model, {name: zero()}):
        model(random_tokens())


def test_04_an_edit_that_never_fires_is_an_error() -> None:
    model, tokens = order_one_model(), random_tokens()
    late = "blocks.1.hook_resid_post"
    with pytest.raises(HookNeverFiredError, match=f"{late} did not"), edited(model, {Z: zero(), late: zero()}):
        model(tokens, stop_at_layer=1)
    with pytest.raises(HookNeverFiredError, match="nor did 1 other:"), edited(model, {Z: zero(), late: zero()}):
        pass
    three = {Z: zero(), late: zero(), "blocks.0.hook_resid_pre": zero()}
    with pytest.raises(HookNeverFiredError, match="nor did 2 others:"), edited(model, three):
        pass
    with edited(model, {Z: zero(), late: zero()}, must_fire=False):
        model(tokens, stop_at_layer=1)


def test_05_a_forgotten_return_is_an_error() -> None:
    model, tokens = order_one_model(), random_tokens()

    def forgets(z: torch.Tensor) -> None:
        z = 0 * z

    def forgets_after_writing(z: torch.Tensor) -> None:
        z[:, 0] = 0

    def writes(z: torch.Tensor) -> torch.Tensor:
        z[:, 0] = 0
        return z

    with pytest.raises(UnchangedError, match="returned None and changed nothing"), edited(model, {Z: forgets}):
        model(tokens)
    with pytest.raises(HookReturnError, match="wrote into the activation"), edited(model, {Z: forgets_after_writing}):
        model(tokens)
    with edited(model, {Z: writes}):
        got = model(tokens)
    assert torch.equal(got, intervene(model, tokens, {site(model, Z).at(pos=0): zero()}))


def test_05_an_edit_that_changes_nothing_is_an_error_under_must_change() -> None:
    model, tokens = order_one_model(), random_tokens()
    with edited(model, {Z: lambda z: z.clone()}):
        model(tokens)
    with pytest.raises(UnchangedError, match="unchanged"), edited(model, {Z: lambda z: z.clone()}, must_change=True):
        model(tokens)
    with edited(model, {Z: zero()}, must_change=True):
        model(tokens)


@pytest.mark.parametrize("shape", [(1, 7, 4, 6), (3, 7, 1, 6), (7, 4, 6), (1, 1, 6), (3, 7, 4, 1), ()])
def test_06_a_shape_that_would_broadcast_is_refused(shape: tuple[int, ...]) -> None:
    model, tokens = order_one_model(), random_tokens()
    values = torch.randn(shape, dtype=torch.float64)
    expected = r"\(3, 7, 4, 6\) \(batch pos head d_head\)"
    with pytest.raises(HookReturnError, match=expected), edited(model, {Z: lambda z: values}):
        model(tokens)
    with edited(model, {Z: lambda z: values.expand(3, 7, 4, 6)}):
        model(tokens)


def test_07_axes_are_named_so_equal_sizes_cannot_be_swapped() -> None:
    model, tokens = order_one_model(n_heads=7), random_tokens(length=7)
    _, cache = model.run_with_cache(tokens)
    z = site(model, Z)
    assert torch.equal(z.at(head=2, pos=5).read(cache[Z]), cache[Z][:, 5, 2])
    assert torch.equal(z.at(pos=5, head=2).read(cache[Z]), cache[Z][:, 5, 2])
    pattern = site(model, "blocks.0.attn.hook_pattern")
    assert torch.equal(pattern.at(head=2, key=1).read(cache[pattern.name]), cache[pattern.name][:, 2, :, 1])
    with pytest.raises(AxisError, match="no axis 'pos'; it has batch, head, query, key"):
        pattern.at(pos=5)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda z: z.float(), "float32"),
        (lambda z: z.numpy(), "ndarray"),
        (lambda z: 0.0, "float"),
        (lambda z: z.to("meta"), "meta"),
    ],
)
def test_08_another_dtype_device_or_type_is_refused(changed: Callable[[torch.Tensor], object], named: str) -> None:
    model, tokens = order_one_model(), random_tokens()
    with torch.no_grad():
        with pytest.raises(HookReturnError, match=f"the edit at {Z} returned .*{named}"), edited(model, {Z: changed}):
            model(tokens)
        with edited(model, {Z: lambda z: z}):
            model(tokens)


@torch.no_grad()
def test_08_cast_converts_numbers_but_never_shapes() -> None:
    model, tokens = order_one_model(), random_tokens()
    expected = intervene(model, tokens, {Z: lambda z: z.float().double()})
    for changed in (lambda z: z.float(), lambda z: z.numpy().astype(np.float32)):
        with edited(model, {Z: changed}, cast=True):
            assert torch.equal(model(tokens), expected)
    with pytest.raises(HookReturnError, match="shape"), edited(model, {Z: lambda z: z[:1].float()}, cast=True):
        model(tokens)
    with pytest.raises(HookReturnError, match="a float"), edited(model, {Z: lambda z: 0.0}, cast=True):
        model(tokens)


class Oops(Exception):
    """An exception that nobody else raises."""


@pytest.mark.parametrize("error", [Oops, KeyboardInterrupt, SystemExit])
def test_09_10_an_exception_or_interrupt_at_any_point_restores_everything(error: type[BaseException]) -> None:
    model, tokens = order_one_model(), random_tokens()
    model.add_hook("blocks.0.hook_resid_pre", lambda value, hook: None)
    before, logits = census(model), model(tokens)
    weights = {name: value.clone() for name, value in model.state_dict().items()}

    def fails(activation: torch.Tensor) -> torch.Tensor:
        activation.zero_()
        raise error("stop")

    for found in sites(model, "**"):
        with pytest.raises(error, match="stop") as caught, edited(model, {Z: lambda z: z, found.name: fails}):
            model(tokens)
        assert caught.value.__notes__ == [f"raised by the edit at {found.name}"]
        assert census(model) == before
    assert torch.equal(model(tokens), logits)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_09_an_exception_in_the_block_is_not_hidden_by_the_count_of_firings() -> None:
    model = order_one_model()
    before = census(model)
    with pytest.raises(Oops), edited(model, {Z: zero()}):
        raise Oops
    assert census(model) == before


def test_11_a_bad_name_after_a_good_one_installs_neither() -> None:
    model = order_one_model()
    before = census(model)
    with pytest.raises(UnknownPointError), edited(model, {Z: zero(), "blocks.9.attn.hook_z": zero()}):
        pass
    assert census(model) == before


def test_11_a_point_that_refuses_its_hook_leaves_none_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = order_one_model()
    before = census(model)

    def refuses(*args: object, **options: object) -> None:
        raise Oops

    monkeypatch.setattr(model.hook_dict["blocks.1.attn.hook_z"], "add_hook", refuses)
    with pytest.raises(Oops), edited(model, {Z: zero(), "blocks.1.attn.hook_z": zero()}):
        pass
    assert census(model) == before


def test_12_hooks_of_others_stay_and_stay_in_order() -> None:
    model, tokens = order_one_model(), random_tokens()
    calls = []
    point = model.hook_dict[Z]
    for who in ("first", "permanent"):
        point.add_hook(lambda value, hook, who=who: calls.append(who), is_permanent=who == "permanent")
    before = census(model)
    with edited(model, {Z: zero()}):
        during = census(model)
        model(tokens)
        model.run_with_hooks(tokens, fwd_hooks=[(Z, lambda value, hook: calls.append("inner"))])
        assert census(model) == during
    assert census(model) == before
    assert calls == ["first", "permanent", "first", "permanent", "inner"]


def test_12_hooks_added_inside_the_block_stay_after_it() -> None:
    model, tokens = order_one_model(), random_tokens()
    calls = []
    with edited(model, {Z: zero()}):
        model.add_hook(Z, lambda value, hook: calls.append(value.abs().max()))
        model(tokens)
    model(tokens)
    assert calls[0] == 0
    assert calls[1] > 0


def test_12_a_reset_inside_the_block_is_survived() -> None:
    model, tokens = order_one_model(), random_tokens()
    plain = model(tokens)
    with edited(model, {Z: zero()}):
        model(tokens)
        model.reset_hooks()
    assert torch.equal(model(tokens), plain)


def test_13_edits_act_in_the_order_of_installation() -> None:
    model, tokens = order_one_model(), random_tokens()
    order = []

    def named(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda z: order.append(name) or z

    z = site(model, Z)
    with edited(model, {Z: named("outer 1"), z.at(head=0): named("outer 2")}), edited(model, {Z: named("inner")}):
        model(tokens)
    assert order == ["outer 1", "outer 2", "inner"]


def test_13_nested_edits_compose() -> None:
    model, tokens = order_one_model(), random_tokens()
    plain = model(tokens)
    with edited(model, {Z: lambda z: z + 1}):
        outer = model(tokens)
        with edited(model, {Z: lambda z: 2 * z}):
            both = model(tokens)
        assert torch.equal(model(tokens), outer)
    assert torch.equal(both, intervene(model, tokens, {Z: lambda z: 2 * (z + 1)}))
    assert torch.equal(model(tokens), plain)


def test_13_a_forward_pass_inside_an_edit_does_not_see_its_own_block() -> None:
    model, tokens = order_one_model(), random_tokens()
    inside = []

    def reruns(z: torch.Tensor) -> torch.Tensor:
        inside.append(model(tokens))
        return 0 * z

    with edited(model, {"blocks.1.attn.hook_z": zero()}):
        outer = model(tokens)
        with edited(model, {Z: reruns}) as fired:
            model(tokens)
    assert fired == {Z: 1}
    torch.testing.assert_close(inside[0], outer)


def test_14_edits_act_in_their_own_thread_alone() -> None:
    model, tokens = order_one_model(), random_tokens()
    with torch.no_grad():
        plain, expected = model(tokens), intervene(model, tokens, {Z: zero(), SCORES: lambda s: 2 * s})
    gap = (plain - expected).abs().max()
    results: dict[str, list[torch.Tensor]] = {"plain": [], "edited": []}
    both_run = threading.Barrier(2)

    @torch.no_grad()
    def run_plain() -> None:
        both_run.wait()
        for _ in range(60):
            results["plain"].append(model(tokens))

    @torch.no_grad()
    def run_edited() -> None:
        both_run.wait()
        for _ in range(60):
            with edited(model, {Z: zero(), SCORES: lambda s: 2 * s}):
                results["edited"].append(model(tokens))

    threads = [threading.Thread(target=target) for target in (run_plain, run_edited)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(logits) for logits in results.values()] == [60, 60]
    # Not bit for bit: with a hook on the scores the other thread's forward takes the unfused road.
    assert max((logits - plain).abs().max() for logits in results["plain"]) < 1e-9 * gap
    assert max((logits - expected).abs().max() for logits in results["edited"]) < 1e-9 * gap


def test_14_a_forward_in_another_thread_does_not_count_as_a_firing() -> None:
    model, tokens = order_one_model(), random_tokens()
    thread = threading.Thread(target=model, args=(tokens,))

    def run() -> None:
        with edited(model, {Z: zero()}):
            thread.start()
            thread.join()

    with pytest.raises(HookNeverFiredError, match="in this thread"):
        run()


def test_15_a_compiled_model_is_refused() -> None:
    model, tokens = order_one_model(), random_tokens()
    compiled = torch.compile(model, backend="eager")
    with pytest.raises(CompiledModelError, match=r"torch\.compile"), edited(compiled, {Z: zero()}):
        pass
    with edited(model, {Z: zero()}):
        model(tokens)


def test_16_a_point_that_the_run_leaves_out_is_an_error_not_a_stale_value() -> None:
    model, tokens = order_one_model(), random_tokens()
    resid = model(tokens, stop_at_layer=1)
    with pytest.raises(HookNeverFiredError, match=Z), edited(model, {Z: zero()}):
        model(resid, start_at_layer=1)
    with edited(model, {"blocks.1.attn.hook_z": zero()}):
        model(resid, start_at_layer=1)


def test_17_an_edit_that_writes_in_place_reaches_nobody_else_s_tensors() -> None:
    model, tokens = order_one_model(), random_tokens()
    resid = model(tokens, stop_at_layer=1).detach()
    kept = resid.clone()

    def writes(activation: torch.Tensor) -> torch.Tensor:
        return activation.zero_()

    with torch.no_grad(), edited(model, {"blocks.1.hook_resid_pre": writes}):
        model(resid, start_at_layer=1)
        _, cache = model.run_with_cache(tokens)
    assert torch.equal(resid, kept)
    torch.testing.assert_close(cache["blocks.0.hook_resid_post"], kept)
    assert not cache["blocks.1.hook_resid_pre"].any()


def test_18_repeated_runs_keep_neither_hooks_nor_activations() -> None:
    model, tokens = order_one_model(), random_tokens()
    before, kept = census(model), []

    def noted(z: torch.Tensor) -> torch.Tensor:
        kept.append(weakref.ref(z))
        return 2 * z

    for _ in range(5):
        intervene(model, tokens, {Z: noted}).sum()
    gc.collect()
    assert census(model) == before
    assert [reference() for reference in kept] == [None] * 5
    assert _acting.get() == ()


def test_21_values_of_another_batch_are_refused() -> None:
    model = order_one_model()
    _, cache = model.run_with_cache(random_tokens(batch=1))
    with pytest.raises(ShapeError, match="broadcast is off"):
        intervene(model, random_tokens(batch=2), {Z: patch(cache[Z])})
    intervene(model, random_tokens(batch=2), {Z: patch(cache[Z], broadcast=True)})
    intervene(model, random_tokens(batch=1), {Z: patch(cache[Z])})


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_27_a_result_that_is_not_finite_is_refused_and_its_place_told(bad: float) -> None:
    model, tokens = order_one_model(), random_tokens()

    def spoils(z: torch.Tensor) -> torch.Tensor:
        z[1, 2, 3, 4] = bad
        return z

    with pytest.raises(NonFiniteError, match=r"1 numbers .* first at \(1, 2, 3, 4\)"), edited(model, {Z: spoils}):
        model(tokens)
    with edited(model, {Z: spoils}, allow_nonfinite=True):
        assert not model(tokens).isfinite().all()


def test_27_minus_infinity_is_legal_in_scores_and_nothing_else_is() -> None:
    model, tokens = order_one_model(), random_tokens()
    first_key = site(model, SCORES).at(key=0, query=slice(1, None))
    with edited(model, {first_key: lambda scores: torch.full_like(scores, -torch.inf)}):
        assert model(tokens).isfinite().all()
    with pytest.raises(NonFiniteError), edited(model, {first_key: lambda scores: torch.full_like(scores, torch.inf)}):
        model(tokens)
