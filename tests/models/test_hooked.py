"""Hooking and caching: all or nothing, nothing silent, and nothing left behind."""

import threading

import pytest
import torch
from torch.testing import assert_close

from models.errors import (
    HookNeverFiredError,
    HookReturnError,
    InputError,
    NoPointMatchedError,
    PointOffError,
    UnknownPointError,
)
from tests.conftest import order_one_model, random_tokens

PATTERN = "blocks.0.attn.hook_pattern"
Z = "blocks.1.attn.hook_z"


def doubled(activation, hook):
    return 2 * activation


def unchanged(activation, hook):
    return None


def census(model):
    """How many hooks of each kind stand at each point."""
    return {
        name: (len(point._forward_hooks), len(point._backward_hooks), len(point.fwd_hooks), len(point.bwd_hooks))
        for name, point in model.hook_dict.items()
        if point.hooked or point.fwd_hooks or point.bwd_hooks
    }


ROUTES = {
    "add_hook": lambda model, tokens, name: model.add_hook(name, doubled),
    "add_perma_hook": lambda model, tokens, name: model.add_perma_hook(name, doubled),
    "hooks": lambda model, tokens, name: model.hooks(fwd_hooks=[(name, doubled)]).__enter__(),
    "backward hooks": lambda model, tokens, name: model.hooks(bwd_hooks=[(name, doubled)]).__enter__(),
    "run_with_hooks": lambda model, tokens, name: model.run_with_hooks(tokens, fwd_hooks=[(name, doubled)]),
    "run_with_cache": lambda model, tokens, name: model.run_with_cache(tokens, names_filter=name),
    "get_caching_hooks": lambda model, tokens, name: model.get_caching_hooks(name),
    "add_caching_hooks": lambda model, tokens, name: model.add_caching_hooks(name),
}
routes = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES.keys())


@routes
def test_an_unknown_name_is_refused_with_the_nearest(route):
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(UnknownPointError, match=r"is called 'blocks\.0\.attn\.hook_patern'.*hook_pattern"):
        route(model, tokens, "blocks.0.attn.hook_patern")
    assert not census(model)
    route(model, tokens, PATTERN)


@routes
def test_a_predicate_that_selects_nothing_is_refused(route):
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(NoPointMatchedError, match="none of the"):
        route(model, tokens, lambda name: "patern" in name)
    assert not census(model)
    route(model, tokens, lambda name: "pattern" in name)


def test_an_empty_list_of_names_is_refused_and_no_filter_means_all():
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(NoPointMatchedError, match="none of the"):
        model.run_with_cache(tokens, names_filter=[])
    assert len(model.run_with_cache(tokens)[1]) == len(model.points(None))


def test_a_predicate_whose_matches_are_all_off_is_refused_and_one_that_is_on_is_enough():
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(PointOffError, match="set_use_attn_result"):
        model.run_with_hooks(tokens, fwd_hooks=[(lambda name: name.endswith("hook_result"), doubled)])
    model.run_with_hooks(tokens, fwd_hooks=[(lambda name: "attn.hook" in name, doubled)])


def test_a_second_bad_name_installs_nothing():
    model = order_one_model()
    with (
        pytest.raises(UnknownPointError, match="hook_zz"),
        model.hooks(fwd_hooks=[(Z, doubled), ("blocks.1.attn.hook_zz", doubled)]),
    ):
        pytest.fail("the block was entered")
    assert not census(model)
    with model.hooks(fwd_hooks=[(Z, doubled), (PATTERN, doubled)]):
        assert set(census(model)) == {Z, PATTERN}
        model(random_tokens())
    assert not census(model)


RETURNS = {
    "broadcastable shape": (lambda a, hook: a[:, :1], "shape"),
    "swapped axes": (lambda a, hook: a.transpose(1, 2), "shape"),
    "larger shape": (lambda a, hook: a[None], "shape"),
    "dtype": (lambda a, hook: a.float(), "float32"),
    "numpy": (lambda a, hook: a.detach().numpy(), "ndarray"),
    "number": (lambda a, hook: 0.0, "float"),
    "two tensors": (lambda a, hook: (a, a), "tuple"),
    "device": (lambda a, hook: a.to("meta"), "meta"),
}


@pytest.mark.parametrize(("hook", "message"), RETURNS.values(), ids=RETURNS.keys())
def test_what_cannot_stand_in_for_the_activation_is_refused(hook, message):
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(HookReturnError, match=f"{Z}.*{message}"):
        model.run_with_hooks(tokens, fwd_hooks=[(Z, hook)])
    assert not census(model)
    model.run_with_hooks(tokens, fwd_hooks=[(Z, lambda a, hook: torch.zeros_like(a))])


@pytest.mark.parametrize("name", ["broadcastable shape", "larger shape", "dtype", "number", "two tensors"])
def test_a_gradient_that_does_not_fit_is_refused(name):
    model, tokens = order_one_model(), random_tokens()
    hook, message = RETURNS[name]
    with pytest.raises(HookReturnError, match=message), model.hooks(bwd_hooks=[(Z, hook)]):
        model(tokens, return_type="loss").backward()
    assert not census(model)


def test_a_backward_hook_edits_the_gradient_of_what_is_below_and_of_nothing_above():
    model, tokens = order_one_model(), random_tokens()
    plain = torch.autograd.grad(model(tokens, return_type="loss"), [model.W_E, model.blocks[1].attn.W_O])
    zeroed = [("blocks.0.hook_resid_pre", lambda gradient, hook: torch.zeros_like(gradient))]
    with model.hooks(bwd_hooks=zeroed):
        below, above = torch.autograd.grad(model(tokens, return_type="loss"), [model.W_E, model.blocks[1].attn.W_O])
    assert below.abs().max() == 0 < plain[0].abs().max()
    assert_close(above, plain[1])


def test_backward_hooks_of_a_run_fire_in_the_backward_pass_after_it():
    model, tokens, fired = order_one_model(), random_tokens(), []
    note = lambda gradient, hook: fired.append(hook.name)  # noqa: E731
    loss = model.run_with_hooks(tokens, return_type="loss", bwd_hooks=[(Z, note)])
    assert not census(model)
    loss.backward()
    assert fired == [Z]


OUTSIDE = {
    "before start_at_layer": ("blocks.0.attn.hook_z", {"start_at_layer": 1}),
    "embedding with start_at_layer": ("hook_embed", {"start_at_layer": 0}),
    "after stop_at_layer": (Z, {"stop_at_layer": 1}),
    "unembedding left out": ("unembed.hook_out", {"return_type": None}),
}


@pytest.mark.parametrize(("name", "options"), OUTSIDE.values(), ids=OUTSIDE.keys())
def test_a_hook_that_a_run_does_not_reach_is_an_error(name, options):
    model, tokens = order_one_model(), random_tokens()
    given = model(tokens, stop_at_layer=options["start_at_layer"]) if "start_at_layer" in options else tokens
    for hooks in ({"fwd_hooks": [(name, unchanged)]}, {"bwd_hooks": [(name, unchanged)]}):
        with pytest.raises(HookNeverFiredError, match=f"{name} did not fire"):
            model.run_with_hooks(given, **hooks, **options)
        model.run_with_hooks(tokens, **hooks)
    with pytest.raises(HookNeverFiredError, match=f"{name} did not fire"):
        model.run_with_cache(given, names_filter=[name], **options)
    with pytest.raises(HookNeverFiredError, match=f"{name} did not fire"):
        model.run_with_cache(given, names_filter=lambda other: other == name, **options)
    _, cache = model.run_with_cache(given, **options)
    assert len(cache) > 0
    assert name not in cache
    assert not census(model)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["hook_embed", "blocks.0.ln1.hook_scale", PATTERN, Z, "unembed.hook_out"])
def test_an_exception_in_a_hook_leaves_no_hook_and_the_model_as_it_was(name, error):
    model, tokens = order_one_model(), random_tokens()
    logits = model(tokens)

    def failing(activation, hook):
        raise error("from the hook")

    for attempt in (
        lambda: model.run_with_hooks(tokens, fwd_hooks=[(Z, doubled), (name, failing)]),
        lambda: model.run_with_hooks(tokens, fwd_hooks=[(name, failing)], bwd_hooks=[(Z, doubled)]),
    ):
        with pytest.raises(error, match="from the hook"):
            attempt()
        assert not census(model)
    assert torch.equal(model(tokens), logits)
    assert len(model.run_with_cache(tokens)[1]) == len(model.points(None))


def test_hooks_of_others_stay():
    model, tokens = order_one_model(), random_tokens()
    fired = []
    model.add_hook(Z, lambda activation, hook: fired.append("added"))
    model.hook_dict[Z].register_forward_hook(lambda module, given, output: fired.append("registered"))
    model.add_perma_hook(PATTERN, lambda activation, hook: fired.append("permanent"))
    before = census(model)
    model.run_with_hooks(tokens, fwd_hooks=[(Z, unchanged), (PATTERN, unchanged)], bwd_hooks=[(Z, unchanged)])
    model.run_with_cache(tokens, incl_bwd=True, return_type="loss")
    with pytest.raises(ZeroDivisionError):
        model.run_with_hooks(tokens, fwd_hooks=[(Z, lambda a, hook: a / (1 // 0))])
    assert census(model) == before
    assert sorted(set(fired)) == ["added", "permanent", "registered"]
    model.reset_hooks()
    assert census(model) == {PATTERN: (1, 0, 1, 0), Z: (1, 0, 0, 0)}


def test_nested_contexts_apply_the_outer_hook_first_and_undo_only_themselves():
    model, tokens = order_one_model(), random_tokens()
    add_one = lambda activation, hook: activation + 1  # noqa: E731

    def z():
        return model.run_with_cache(tokens, names_filter=Z)[1][Z]

    plain = z()
    with model.hooks(fwd_hooks=[(Z, doubled)]):
        with model.hooks(fwd_hooks=[(Z, add_one)]):
            assert_close(z(), 2 * plain + 1)
        assert_close(z(), 2 * plain)
        kept = model.hooks(fwd_hooks=[(Z, add_one)], reset_hooks_end=False)
        with kept:
            pass
    assert_close(z(), plain + 1)
    model.reset_hooks()
    assert torch.equal(z(), plain)


def test_contexts_that_end_in_another_order_than_they_began_undo_only_themselves():
    model = order_one_model()
    first, second = model.hooks(fwd_hooks=[(Z, doubled)]), model.hooks(fwd_hooks=[(PATTERN, doubled)])
    first.__enter__()
    second.__enter__()
    model(random_tokens())
    first.__exit__(None, None, None)
    assert set(census(model)) == {PATTERN}
    second.__exit__(None, None, None)
    assert not census(model)


def test_a_run_inside_a_hook_leaves_no_trace_in_the_cache_of_the_outer_run():
    model, tokens, other = order_one_model(), random_tokens(), random_tokens(seed=1)
    _, expected = model.run_with_cache(tokens)
    inner = []

    def nested(activation, hook):
        if not inner:
            inner.append(None)
            model(other)
            inner[0] = model.run_with_cache(other)[1]

    with model.hooks(fwd_hooks=[(Z, nested)]):
        _, cache = model.run_with_cache(tokens)
    assert all(torch.equal(cache[name], expected[name]) for name in expected)
    _, of_other = model.run_with_cache(other)
    assert all(torch.equal(inner[0][name], of_other[name]) for name in of_other)


@pytest.mark.parametrize("changes", [{}, {"final_norm": False}, {"use_hook_mlp_in": True, "use_attn_result": True}])
def test_no_cache_entry_shares_memory_with_another(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        _, untouched = model.run_with_cache(tokens)
        for name in cache:
            cache[name].fill_(7.0)
            others = [other for other in cache if other != name]
            assert all(torch.equal(cache[other], untouched[other]) for other in others), name
            cache[name].copy_(untouched[name])


def test_a_hook_that_edits_in_place_later_does_not_reach_what_was_cached_before():
    # The stream after block 0 and before block 1 is one tensor, read at two points.
    model, tokens = order_one_model(), random_tokens()
    with torch.no_grad():
        _, expected = model.run_with_cache(tokens)
        with model.hooks(fwd_hooks=[("blocks.1.hook_resid_pre", lambda stream, hook: stream.zero_())]):
            _, cache = model.run_with_cache(tokens)
    assert torch.equal(cache["blocks.0.hook_resid_post"], expected["blocks.0.hook_resid_post"])
    assert cache["blocks.1.hook_resid_pre"].abs().max() == 0


def test_the_cache_holds_what_edits_left():
    model, tokens = order_one_model(), random_tokens()
    _, plain = model.run_with_cache(tokens)
    with model.hooks(fwd_hooks=[(Z, doubled)]):
        _, cache = model.run_with_cache(tokens)
    assert_close(cache[Z], 2 * plain[Z])


SLICES = {"number": 2, "negative": -1, "range": (1, 5), "list": [0, 3], "tensor": torch.tensor([4, 1])}


@pytest.mark.parametrize("pos_slice", SLICES.values(), ids=SLICES.keys())
def test_pos_slice_takes_the_query_positions_of_every_point(pos_slice):
    model = order_one_model(
        positional_embedding_type="rotary", use_attn_result=True, use_split_qkv_input=True, use_hook_tokens=True
    )
    tokens = random_tokens()
    _, cache = model.run_with_cache(tokens)
    _, sliced = model.run_with_cache(tokens, pos_slice=pos_slice)
    # One position keeps its axis, as in TransformerLens.
    index = (
        slice(*pos_slice) if isinstance(pos_slice, tuple) else [pos_slice] if isinstance(pos_slice, int) else pos_slice
    )
    assert set(sliced) == set(cache)
    for name in cache:
        full = cache[name]
        by_query = name.endswith(("hook_attn_scores", "hook_pattern"))
        assert torch.equal(sliced[name], full[:, :, index] if by_query else full[:, index]), name


def test_pos_slice_of_the_gradients():
    model, tokens = order_one_model(), random_tokens()
    _, cache = model.run_with_cache(tokens, incl_bwd=True, return_type="loss")
    _, sliced = model.run_with_cache(tokens, incl_bwd=True, return_type="loss", pos_slice=2)
    assert torch.equal(sliced[f"{Z}_grad"], cache[f"{Z}_grad"][:, [2]])
    assert torch.equal(sliced[f"{PATTERN}_grad"], cache[f"{PATTERN}_grad"][:, :, [2]])


def test_a_slice_does_not_keep_the_whole_activation_in_memory():
    model, tokens = order_one_model(), random_tokens()
    _, sliced = model.run_with_cache(tokens, pos_slice=-1)
    for name, activation in sliced.items():
        assert activation.untyped_storage().nbytes() == activation.numel() * activation.element_size(), name


def test_remove_batch_dim_needs_a_batch_of_one():
    model, tokens = order_one_model(), random_tokens()
    _, cache = model.run_with_cache(tokens[:1])
    _, removed = model.run_with_cache(tokens[:1], remove_batch_dim=True)
    assert not removed.has_batch_dim
    assert all(torch.equal(removed[name], cache[name][0]) for name in cache)
    with pytest.raises(InputError, match="batch of 3"):
        model.run_with_cache(tokens, remove_batch_dim=True)
    _, both = model.run_with_cache(tokens[:1], remove_batch_dim=True, pos_slice=2, return_cache_object=False)
    assert torch.equal(both[PATTERN], cache[PATTERN][0, :, [2]])
    assert torch.equal(both[Z], cache[Z][0, [2]])


def test_the_device_of_the_cache_can_be_another():
    model, tokens = order_one_model(), random_tokens()
    logits, cache = model.run_with_cache(tokens, device="meta")
    assert {activation.device.type for activation in cache.values()} == {"meta"}
    assert logits.device.type == "cpu"


def test_the_cache_keeps_no_graph():
    model, tokens = order_one_model(), random_tokens()
    logits, cache = model.run_with_cache(tokens)
    assert logits.requires_grad
    assert not any(activation.requires_grad for activation in cache.values())


def test_tokens_have_no_gradient_to_cache():
    model, tokens = order_one_model(use_hook_tokens=True), random_tokens()
    _, cache = model.run_with_cache(tokens, incl_bwd=True, return_type="loss")
    assert {name for name in model.points(None) if f"{name}_grad" not in cache} == {"hook_tokens"}


def test_caching_hooks_fill_the_dictionary_of_a_later_run():
    model, tokens = order_one_model(), random_tokens()
    _, expected = model.run_with_cache(tokens)
    added = model.add_caching_hooks()
    model(tokens)
    model.reset_hooks()
    got, forward, backward = model.get_caching_hooks(incl_bwd=True)
    model.run_with_hooks(tokens, fwd_hooks=forward, bwd_hooks=backward, return_type="loss").backward()
    assert set(added) == set(expected) == {name for name in got if not name.endswith("_grad")}
    assert_close(added[Z], expected[Z])
    assert_close(got[Z], expected[Z])
    assert f"{Z}_grad" in got


def test_two_threads_that_cache_never_see_one_another():
    model = order_one_model()
    inputs = [random_tokens(seed=seed) for seed in range(2)]
    expected = [model.run_with_cache(tokens)[1] for tokens in inputs]
    wrong, barrier = [], threading.Barrier(2)

    def run(which):
        barrier.wait()
        for _ in range(20):
            _, cache = model.run_with_cache(inputs[which])
            wrong.extend(name for name in expected[which] if not torch.equal(cache[name], expected[which][name]))

    threads = [threading.Thread(target=run, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forward_pass_in_another_thread_does_not_enter_the_cache():
    # Deterministic: the other thread runs the whole model while this one stands inside a hook of its own.
    model, tokens, other = order_one_model(), random_tokens(), random_tokens(seed=1)
    _, expected = model.run_with_cache(tokens)
    started = []

    def meanwhile(activation, hook):
        if not started:
            started.append(True)
            thread = threading.Thread(target=model, args=(other,))
            thread.start()
            thread.join()

    with model.hooks(fwd_hooks=[("blocks.1.hook_mlp_out", meanwhile)]):
        _, cache = model.run_with_cache(tokens)
    assert started
    assert all(torch.equal(cache[name], expected[name]) for name in expected)


def test_a_block_whose_hook_never_fired_is_an_error():
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(HookNeverFiredError, match=f"{Z} did not fire"), model.hooks(fwd_hooks=[(Z, doubled)]):
        pass
    late = "blocks.1.hook_resid_post"
    with pytest.raises(HookNeverFiredError, match=late), model.hooks(fwd_hooks=[(late, doubled)]):
        model(tokens, stop_at_layer=1)
    # A predicate may select points that a shorter run leaves out, as long as one of them fires.
    with model.hooks(fwd_hooks=[(lambda name: name.endswith("hook_resid_post"), doubled)]):
        model(tokens, stop_at_layer=1)
    with pytest.raises(ValueError, match="mine"), model.hooks(fwd_hooks=[(Z, doubled)]):
        raise ValueError("mine")


def test_temporary_hooks_never_edit_the_runs_of_another_thread():
    model, tokens = order_one_model(), random_tokens()
    expected, edited_, wrong = model(tokens), [], []
    stop = threading.Event()

    def edits():
        while not stop.is_set():
            edited_.append(model.run_with_hooks(tokens, fwd_hooks=[("hook_embed", doubled)]))

    thread = threading.Thread(target=edits)
    thread.start()
    try:
        while len(edited_) < 20:
            if not torch.allclose(model(tokens), expected):
                wrong.append(None)
    finally:
        stop.set()
        thread.join()
    assert not wrong
    assert all(not torch.allclose(logits, expected) for logits in edited_)


def test_a_position_slice_that_selects_nothing_is_an_error():
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(InputError, match="selects no position of hook_embed"):
        model.run_with_cache(tokens, names_filter="hook_embed", pos_slice=(8, 9))
    assert model.run_with_cache(tokens, names_filter="hook_embed", pos_slice=(6, 7))[1]["hook_embed"].shape[1] == 1


def test_hooks_are_added_with_the_arguments_of_transformer_lens_in_their_order():
    model, tokens, seen = order_one_model(), random_tokens(1), []
    model.add_hook(Z, lambda z, hook: seen.append("kept"), "fwd", True)
    model.add_hook(Z, lambda z, hook: seen.append("first"), "fwd", False, None, True)
    point = model.hook_dict[Z]
    point.add_hook(lambda z, hook: seen.append("level"), "fwd", False, 1)
    assert [handle.context_level for handle in point.fwd_hooks] == [None, None, 1]
    model(tokens)
    assert seen == ["first", "kept", "level"]
    model.reset_hooks()
    model(tokens)
    assert seen[3:] == ["kept"]
    model.reset_hooks(including_permanent=True)
    assert not point.hooked
    with pytest.raises(PointOffError, match="hook_result is off"):
        model.add_hook("blocks.0.attn.hook_result", doubled, "fwd", True)


def test_caching_hooks_take_the_arguments_of_transformer_lens_in_their_order():
    model, tokens, filled = order_one_model(), random_tokens(1), {}
    cache, forward, backward = model.get_caching_hooks([Z], True, "cpu", True, filled, 2)
    model.run_with_hooks(tokens, return_type="loss", fwd_hooks=forward, bwd_hooks=backward).backward()
    assert cache is filled
    assert set(cache) == {Z, f"{Z}_grad"}
    assert_close(cache[Z], model.run_with_cache(tokens)[1][Z][0, [2]])
    assert model.add_caching_hooks([Z], False, None, True, filled) is filled
    model(tokens)
    assert filled[Z].ndim == 3
