"""The benchmark's floor against what a model shows: rows that a change moves and that the metric's gradient sees."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.sweep_floor import Floor
from interp.cost import forward_flops
from tests.conftest import order_one_model, random_tokens, small_config

LENGTH = 5
MODELS = {
    "sequential": order_one_model(n_layers=3),
    "grouped": order_one_model(n_layers=3, n_key_value_heads=2, gated_mlp=True),
    "attention only": order_one_model(n_layers=3, attn_only=True),
}
POINTS = ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z", "hook_attn_out", "hook_mlp_out")
CELLS = {"resid_pre": ("pos",), "z": ("head", "pos"), "pattern": ("head",), "attn_out": ("pos",), "mlp_out": ("pos",)}
# What of the cell's own block is computed anew; a head's change of attn_out is counted apart.
ANEW = {"resid_pre": POINTS, "mlp_out": (), **dict.fromkeys(("z", "pattern", "attn_out"), ("hook_mlp_out",))}


def logits_and_points(model, tokens, hooks=()):
    """The logits, and every activation at the points above and of the last stream."""
    kept = {}

    def keep(activation, hook):
        kept[hook.name] = activation

    inside = [f"blocks.{at}.{name}" for at in range(3) for name in (*POINTS, "hook_resid_post")]
    names = [name for name in inside if name in model.hook_dict]
    logits = model.run_with_hooks(tokens, fwd_hooks=[*hooks, *((name, keep) for name in names)])
    return logits, kept


def rows(values):
    """The positions at which an activation [1, pos, ...] is not zero, but for rounding."""
    return set((values[0].flatten(1).abs().amax(dim=1) > 1e-9).nonzero().flatten().tolist())


def rows_seen(model, tokens, read):
    """At every point the rows on which the logits at some positions depend."""
    logits, points = logits_and_points(model, tokens)
    weights = torch.randn(logits[:, read].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slopes = torch.autograd.grad((logits[:, read] * weights).sum(), list(points.values()), allow_unused=True)
    return {name: set() if slope is None else rows(slope) for name, slope in zip(points, slopes, strict=True)}


@torch.no_grad()
def rows_moved(model, clean, corrupted, point, at):
    """At every point the rows that the patched cell changes."""
    inside = "attn." if point in ("z", "pattern") else ""
    site = f"blocks.{at['layer']}.{inside}hook_{point}"
    fixed = [at[axis] if axis in at else slice(None) for axis in ("head",) if point == "pattern"]
    fixed = fixed or [at.get(axis, slice(None)) for axis in ("pos", *(("head",) if point == "z" else ()))]
    index = (0, *fixed)
    value = model.run_with_cache(clean)[1][site][index]

    def patch(activation, hook):
        activation = activation.clone()
        activation[index] = value
        return activation

    _, before = logits_and_points(model, corrupted)
    _, after = logits_and_points(model, corrupted, [(site, patch)])
    return {name: rows(after[name] - before[name]) for name in before}


def observed(model, clean, corrupted, point, at, read):
    """The operations of one cell, from the rows that are moved and seen."""
    cfg, own = model.cfg, f"blocks.{at['layer']}"
    moved, seen = rows_moved(model, clean, corrupted, point, at), rows_seen(model, corrupted, read)
    both = {name: moved[name] & seen[name] for name in moved}
    head = 2 * cfg.d_model * cfg.d_head
    groups = cfg.n_key_value_heads or cfg.n_heads
    per_row = {
        "attn.hook_q": cfg.n_heads * head,
        "attn.hook_k": groups * head,
        "attn.hook_v": groups * head,
        "hook_attn_out": cfg.n_heads * head,
        "hook_mlp_out": 2 * cfg.d_model * cfg.d_mlp * (3 if cfg.gated_mlp else 2),
    }
    total = len(moved[f"blocks.{cfg.n_layers - 1}.hook_resid_post"] & set(read)) * 2 * cfg.d_model * cfg.d_vocab_out
    for name, which in both.items():
        block, _, short = name.partition(".")[2].partition(".")
        if (
            int(block) < at["layer"]
            or short == "hook_resid_post"
            or (name.startswith(f"{own}.") and short not in ANEW[point])
        ):
            continue
        looked_at = sum(row + 1 for row in which)
        # Scores and the weighted sum of values, for each query with each key that it sees.
        total += looked_at * cfg.n_heads * 4 * cfg.d_head if short == "attn.hook_z" else len(which) * per_row[short]
    if point in ("z", "pattern"):
        which = both[f"{own}.hook_attn_out"]
        weighed = sum(row + 1 for row in which) * 2 * cfg.d_head * (point == "pattern")
        total += (len(which) * head + weighed) * (1 if "head" in at else cfg.n_heads)
    return total


@st.composite
def one_cell(draw):
    name = draw(st.sampled_from(sorted(MODELS)))
    point = draw(st.sampled_from([point for point in CELLS if (name, point) != ("attention only", "mlp_out")]))
    at = {"layer": draw(st.integers(0, 2))}
    if "head" in CELLS[point] and draw(st.booleans()):
        at["head"] = draw(st.integers(0, MODELS[name].cfg.n_heads - 1))
    if "pos" in CELLS[point] and draw(st.booleans()):
        at["pos"] = draw(st.integers(0, LENGTH - 1))
    # The first token is shared, as a beginning of text is: its query sees one key, and its score matters to nobody.
    differ = [False, *draw(st.lists(st.booleans(), min_size=LENGTH - 1, max_size=LENGTH - 1).filter(any))]
    read = draw(st.lists(st.integers(1, LENGTH - 1), min_size=1, max_size=2, unique=True))
    return name, point, at, differ, read


@settings(max_examples=40, deadline=None)
@given(one_cell())
def test_a_cell_costs_what_its_moved_and_seen_rows_cost(drawn):
    name, point, at, differ, read = drawn
    model = MODELS[name]
    clean = random_tokens(1, LENGTH, seed=3)
    corrupted = torch.where(torch.tensor(differ), (clean + 5) % model.cfg.d_vocab, clean)
    floor = Floor(model.cfg, LENGTH, frozenset(read), model.cfg.d_vocab_out)
    assert floor.cell(point, at, differ) == observed(model, clean, corrupted, point, at, read)


def test_an_unedited_run_that_is_read_everywhere_costs_a_forward():
    cfg = small_config()
    floor = Floor(cfg, LENGTH, frozenset(range(LENGTH)), cfg.d_vocab_out)
    forward = forward_flops(cfg)
    masked_pairs = LENGTH * (LENGTH - 1) // 2
    once = forward.at(LENGTH) - masked_pairs * forward.by_pair
    assert floor.unedited([True] * LENGTH) == 2 * once
    # The other run's first four rows are those of the first one.
    assert once < floor.unedited([False] * 4 + [True]) < 2 * once


def test_what_comes_after_the_metric_costs_nothing():
    cfg = small_config()
    floor = Floor(cfg, LENGTH, frozenset({2}), 2)
    everywhere = [True] * LENGTH
    assert floor.cell("resid_pre", {"layer": 0, "pos": 3}, everywhere) == 0
    assert floor.cell("z", {"layer": 1, "head": 0, "pos": 1}, everywhere) == 0
    assert floor.cell("z", {"layer": 0, "head": 0, "pos": 1}, everywhere) > 0
    assert floor.cell("z", {"layer": 0, "head": 0, "pos": 1}, [False, False, True, True, True]) == 0


def test_the_first_query_s_pattern_is_the_same_in_all_runs():
    cfg = small_config()
    everywhere, cell = [True] * LENGTH, {"layer": 1, "head": 0}
    assert Floor(cfg, LENGTH, frozenset({0}), 2).cell("pattern", cell, everywhere) == 0
    assert Floor(cfg, LENGTH, frozenset({1}), 2).cell("pattern", cell, everywhere) > 0
    assert Floor(cfg, LENGTH, frozenset({0}), 2).cell("z", cell, everywhere) > 0


def test_models_that_it_does_not_count_are_refused():
    for change in ({"attention_dir": "bidirectional"}, {"parallel_attn_mlp": True}, {"norm_placement": "post"}):
        with pytest.raises(ValueError, match="causal models of sequential pre-norm blocks"):
            Floor(small_config(**change), LENGTH, frozenset({1}), 2)
    assert Floor(small_config(), LENGTH, frozenset({1}), 2).cell("mlp_out", {"layer": 1, "pos": 1}, [True] * LENGTH)
    with pytest.raises(ValueError, match="a change of q"):
        Floor(small_config(), LENGTH, frozenset({1}), 2).cell("q", {"layer": 1, "pos": 1}, [True] * LENGTH)
