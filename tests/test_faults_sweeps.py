"""Rows 18, 19, 25 to 30, 37 and 39 of the table of faults, where a sweep meets them."""

import errno
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.testing import assert_close

from interp import joint, sweep
from interp.effects import Effects
from interp.engine.changes import RowReplacement, as_rows
from interp.errors import JournalError, MemoryBudgetError, NonFiniteError, TokensError
from interp.metrics import LogitDifference, LogProbability, Loss, Metric
from interp.sweep import prepare_sweep
from models import HookedTransformer
from tests.conftest import order_one_model, random_tokens
from tests.live_bytes import LiveBytes
from tests.models.word_tokenizer import word_tokenizer

OVER = ("layer", "pos")
ENGINES = ["wavefront", "hooks"]
PAD = 2


def metric(n_prompts: int = 3, position: int = -1) -> Metric:
    return LogitDifference(torch.tensor([3, 0, 1])[:n_prompts], torch.tensor([4, 2, 0])[:n_prompts], position)


def pair(length: int = 5, n_prompts: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(random_tokens(n_prompts, length, seed=seed, d_vocab=12) + 5 for seed in (1, 2))


def swept(model: HookedTransformer, *tokens: torch.Tensor, point: str = "resid_pre", **options: Any) -> Effects:
    given = {"over": OVER, "metric": metric(len(tokens[0])), "direction": "denoising", **options}
    return sweep(model, *tokens, point, **given)


@pytest.mark.parametrize("engine", ENGINES)
def test_18_a_sweep_keeps_neither_graph_nor_activations_nor_hooks(engine: str) -> None:
    model, tokens = order_one_model(), pair()
    with LiveBytes() as live:
        effects = swept(model, *tokens, engine=engine)
    assert torch.is_grad_enabled()
    held = (effects.values, effects.clean, effects.corrupted, effects.dead, effects.noise_floor)
    assert not any(one.requires_grad for one in held)
    del held, effects
    gc.collect()
    assert live.peak > 10_000
    assert live.now == 0
    assert not any(point.hooked for point in model.hook_dict.values())
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("engine", ENGINES)
def test_18_repeated_sweeps_do_not_grow(engine: str, as_users_run_it: None) -> None:
    model, tokens = order_one_model(), pair(9, n_prompts=40)
    answers = LogitDifference(tokens[0][:, 0] % 17, tokens[1][:, 0] % 17)

    def several(n: int) -> tuple[int, int]:
        with LiveBytes() as live:
            for _ in range(n):
                swept(model, *tokens, point="mlp_post", over=("layer",), engine=engine, metric=answers)
        gc.collect()
        return psutil.Process().memory_info().rss, live.peak

    several(3)
    before, _ = several(3)
    after, peak = several(16)
    # Were one run's activations kept each time, it would be three times as much.
    assert after - before < 16 * peak / 3
    assert peak > 2**19


@pytest.mark.parametrize("engine", ENGINES)
def test_19_activations_larger_than_the_memory_are_refused_before_anything_is_run(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokens = order_one_model(), pair()
    ran = []
    monkeypatch.setattr(model, "forward", lambda *given, **options: ran.append(given))
    monkeypatch.setattr("interp.memory.free_bytes", lambda device: 8_000)
    said = r"two runs of 3 prompts of 5 tokens, of which \d+ points are kept, take [\d,]+ bytes, and a sweep may take "
    with pytest.raises(MemoryBudgetError, match=said + "4,000; give fewer prompts at once or fewer layers"):
        swept(model, *tokens, engine=engine)
    assert not ran
    monkeypatch.undo()
    swept(model, *tokens, engine=engine)


def test_19_a_budget_that_is_given_counts_and_not_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = order_one_model(), pair()
    with pytest.raises(MemoryBudgetError, match="a sweep may take 30,000"):
        swept(model, *tokens, max_memory=30_000)
    monkeypatch.setattr("interp.memory.free_bytes", lambda device: 1)
    swept(model, *tokens, max_memory=2**20)


def test_25_a_query_that_may_look_nowhere_looks_nowhere_in_either_engine() -> None:
    model, tokens = order_one_model(), pair()
    ready = prepare_sweep(
        model, *tokens, "attn_scores", ("layer", "head", "query"), metric(), direction="denoising", engine="wavefront"
    ).ready
    # What a user's own values may say: no key at all for the queries of the second position.
    for given in ready.replacements.values():
        given.values[:, :, 1] = -torch.inf
    whole = range(len(ready.changes))
    exact = ready.values()
    plain = ready.plain(whole).part(range(3 * len(whole))).unflatten(1, (len(whole), 3)).transpose(1, 2)
    assert bool(exact.isfinite().all())
    assert_close(exact, plain, rtol=1e-10, atol=1e-10)
    name = "blocks.0.attn.hook_attn_scores"
    rows = as_rows(ready.replacements[name].values, ("batch", "head", "query", "key"))
    assert bool((rows[:, 1] == -torch.inf).all())
    assert RowReplacement(rows, rows).touched(((0, 4), (0, 5))).sum() == 0


def padded(side: str, amounts: tuple[int, ...] = (2, 0, 1)) -> tuple[HookedTransformer, tuple[torch.Tensor, ...]]:
    """A model that reads text, and prompts of different lengths: padded to six tokens, and by themselves."""
    model = order_one_model()
    model.set_tokenizer(word_tokenizer(side))
    clean, corrupted = pair(6)
    for prompt, n in enumerate(amounts):
        some = slice(0, n) if side == "left" else slice(6 - n, 6)
        clean[prompt, some] = corrupted[prompt, some] = PAD
    return model, (clean, corrupted)


@pytest.mark.parametrize("engine", ENGINES)
def test_26_prompts_padded_on_the_left_give_what_they_give_alone(engine: str) -> None:
    amounts = (2, 0, 1)
    model, tokens = padded("left", amounts)
    for point, over in (("resid_pre", OVER), ("z", ("layer", "head", "pos")), ("v", ("layer", "kv_head", "pos"))):
        options = {"point": point, "over": over, "engine": engine}
        together = swept(model, *tokens, only={"pos": [2, 3, 4, 5]}, **options)
        for prompt, n in enumerate(amounts):
            own = [one[prompt : prompt + 1, n:] for one in tokens]
            which = {"only": {"pos": [2 - n, 3 - n, 4 - n, 5 - n]}}
            told = LogitDifference(metric().answer[[prompt]], metric().wrong[[prompt]])
            alone = swept(model, *own, **options, **which, metric=told)
            assert_close(together.values[prompt], alone.values[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_26_padding_on_the_right_comes_after_what_is_read(engine: str) -> None:
    model, tokens = padded("right", (2, 2, 2))
    long = swept(model, *tokens, metric=metric(position=3), engine=engine)
    short = swept(model, *(one[:, :4] for one in tokens), engine=engine)
    assert_close(long.values[..., :4], short.values, rtol=1e-10, atol=1e-10)
    assert bool(long.dead[:, 4:].all())


@pytest.mark.parametrize(
    ("point", "over", "only"),
    [
        ("resid_pre", OVER, {"pos": [1, 2]}),
        ("resid_pre", OVER, {}),
        ("pattern", ("layer", "head", "query"), {"query": [0]}),
        ("attn_scores", ("layer", "head", "key"), {"key": [1]}),
    ],
)
def test_26_a_position_that_is_padding_is_not_patched(point: str, over: tuple[str, ...], only: dict[str, Any]) -> None:
    model, tokens = padded("left")
    axis = over[-1]
    position = min(only.get(axis, [0]))
    said = rf"position {position} of prompt 0 is padding, .* only={{'{axis}': \[2, 3, 4, 5\]}} leaves the positions"
    with pytest.raises(TokensError, match=said):
        swept(model, *tokens, point=point, over=over, only=only)
    swept(model, *tokens, point=point, over=over, only={axis: [2, 3, 4, 5]})
    # The whole point is changed where something is said.
    swept(model, *tokens, point=point, over=over[:-1])
    places = {"a": [(point, {"layer": 0, axis: position})]}
    with pytest.raises(TokensError, match=f"position {position} of prompt 0 is padding"):
        joint(model, *tokens, places, metric(), direction="noising")


def test_26_prompts_that_are_padded_differently_are_no_partners() -> None:
    model, (clean, corrupted) = padded("left")
    corrupted[2, 1] = PAD
    with pytest.raises(TokensError, match=r"prompt 2 has 1 positions of padding clean and 2 corrupted") as caught:
        swept(model, clean, corrupted, over=("layer",))
    assert "[<pad>]" in str(caught.value)
    clean[2, 1] = PAD
    swept(model, clean, corrupted, over=("layer",))


def test_26_means_and_draws_over_prompts_do_not_mix_padding_in() -> None:
    model, tokens = padded("left")
    even, (same, other) = padded("left", (1, 1, 1))
    for intervention in ("mean", "resample"):
        options = {"over": ("layer",), "intervention": intervention}
        with pytest.raises(TokensError, match="position 0 is padding in some of the prompts whose values are mixed"):
            swept(model, *tokens, **options)
        with pytest.raises(TokensError, match="give prompts of one length"):
            swept(even, same, other, reference=tokens[0], **options)
        swept(even, same, other, reference=same, **options)
        swept(even, same, other, **options)


@pytest.mark.parametrize("engine", ENGINES)
def test_27_sixteen_bits_that_overflow_are_refused_at_the_first_point_that_does(engine: str) -> None:
    model, tokens = order_one_model(dtype=torch.float16), pair()
    swept(model, *tokens, engine=engine, point="z", over=("layer", "head"))
    with torch.no_grad():
        model.blocks[0].mlp.W_out.mul_(40_000)
    said = (
        r"blocks\.0\.hook_mlp_out is -?inf at \[batch=\d+, pos=\d+, d_model=\d+\], the first .*\(float16 ends at 65504"
    )
    with pytest.raises(NonFiniteError, match=said):
        swept(model, *tokens, engine=engine, point="z", over=("layer", "head"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("engine", ENGINES)
def test_27_metrics_of_sixteen_bit_models_are_computed_in_float64(engine: str, dtype: torch.dtype) -> None:
    model, tokens = order_one_model(dtype=dtype), pair()
    effects = swept(model, *tokens, engine=engine, metric=LogProbability(torch.tensor([3, 0, 1])))
    assert effects.values.dtype == torch.float64
    logits = model(tokens[1])[:, -1].detach().double()
    expected = logits.log_softmax(dim=1)[torch.arange(3), torch.tensor([3, 0, 1])]
    assert_close(effects.corrupted, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_27_a_cell_that_overflows_is_named(engine: str) -> None:
    model, tokens = order_one_model(dtype=torch.float16), pair()
    vector = torch.full((12,), 60_000.0, dtype=torch.float16)
    vector[::2] *= -1
    options = {"engine": engine, "point": "resid_post", "over": ("layer",), "intervention": "add"}
    # In both blocks together it is more than a number of sixteen bits can be.
    with pytest.raises(NonFiniteError, match=r"blocks\.0\.hook_resid_post|blocks\.1\.hook_resid_post"):
        swept(model, *tokens, vector=vector, window=2, **options)
    swept(model, *tokens, vector=vector, **options)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_28_a_weight_that_is_not_finite_is_named(engine: str, bad: float) -> None:
    model, tokens = order_one_model(), pair()
    with torch.no_grad():
        model.blocks[1].attn.W_V[2, 3, 4] = bad
    said = rf"the weight blocks\.1\.attn\.W_V is {bad} at \[2, 3, 4\]"
    with pytest.raises(NonFiniteError, match=said):
        swept(model, *tokens, engine=engine)
    with torch.no_grad():
        model.blocks[1].attn.W_V[2, 3, 4] = 0.1
        # A token that nobody says.
        model.W_E[0] = bad
    swept(model, *tokens, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_28_a_value_that_is_put_in_must_be_finite(engine: str) -> None:
    model, tokens = order_one_model(), pair()
    vector = torch.ones(12, dtype=torch.float64)
    swept(model, *tokens, engine=engine, intervention="add", vector=vector)
    vector[5] = torch.nan
    with pytest.raises(NonFiniteError, match=r"what stands in at blocks\.0\.hook_resid_pre is nan at \[0, 0, 5\]"):
        swept(model, *tokens, engine=engine, intervention="add", vector=vector)


@pytest.mark.parametrize("spoilt", [17, -1, 10**9])
@pytest.mark.parametrize("which", ["clean", "corrupted", "reference"])
def test_29_a_token_that_the_model_does_not_have_is_refused(which: str, spoilt: int) -> None:
    model = order_one_model()
    tokens = dict(zip(("clean", "corrupted", "reference"), (*pair(), random_tokens(3, 5, seed=8)), strict=True))

    def run() -> None:
        options = {"intervention": "mean", "reference": tokens["reference"]}
        swept(model, tokens["clean"], tokens["corrupted"], **options)

    run()
    tokens[which][1, 3] = spoilt
    said = f"the {which} prompt 1 has the token {spoilt} at position 3; the vocabulary is 0 to 16"
    with pytest.raises(TokensError, match=said):
        run()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_29_tokens_that_are_no_numbers_of_tokens_are_refused(dtype: torch.dtype, as_users_run_it: None) -> None:
    model, (clean, corrupted) = order_one_model(), pair()
    with pytest.raises(TokensError, match="the clean tokens must be whole numbers, not torch"):
        swept(model, clean.to(dtype), corrupted)
    with pytest.raises(TokensError, match="the corrupted tokens must be whole numbers"):
        swept(model, clean, corrupted.to(dtype))
    swept(model, clean.int(), corrupted.int())


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (5,), (1, 3, 5)])
def test_30_tokens_of_another_shape_are_refused(shape: tuple[int, ...], as_users_run_it: None) -> None:
    model, good = order_one_model(), pair()
    with pytest.raises(TokensError, match=r"the clean tokens must be \[prompt, pos\] with neither empty"):
        sweep(model, torch.ones(shape, dtype=torch.long), good[1], "z", ("layer",), metric(), direction="denoising")
    swept(model, *good, point="z", over=("layer",))


@pytest.mark.parametrize("engine", ENGINES)
def test_30_a_single_token_of_a_single_prompt_works(engine: str) -> None:
    model = order_one_model()
    clean, corrupted = torch.tensor([[3]]), torch.tensor([[8]])
    effects = swept(model, clean, corrupted, engine=engine)
    assert_close(effects.values[0, 0, 0], effects.clean[0])
    assert effects.values.shape == (1, 2, 1)
    heads = swept(model, clean, corrupted, point="pattern", over=("layer", "head"), engine=engine)
    assert bool(heads.dead.all())


KILLED = """
import os, signal, sys
from interp import whole_files
from tests.test_faults_sweeps import order_one_model, pair, recorded

written, fsync = [], os.fsync

def killed(handle):
    # Three parts are there behind the head, the fourth is half written.
    written.append(handle)
    if len(written) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)

whole_files.os.fsync = killed
recorded(sys.argv[1])
"""


def recorded(folder: Any) -> torch.Tensor:
    """The values of a sweep of many parts, kept in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interp.engine.wavefront.MOST_NUMBERS", {"cpu": 120})
        return swept(order_one_model(), *pair(), point="z", over=("layer", "head"), out=folder).values


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("part-*"))


def test_37_a_sweep_that_is_killed_while_it_writes_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    expected = recorded(tmp_path / "whole")
    root = Path(__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed")], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(parts(tmp_path / "killed")) == 3 < len(parts(tmp_path / "whole"))
    assert torch.equal(recorded(tmp_path / "killed"), expected)
    assert parts(tmp_path / "killed") == parts(tmp_path / "whole")


def test_37_a_full_disk_leaves_whole_parts_to_go_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, fsync, written = recorded(tmp_path / "whole"), os.fsync, []

    def full(handle: int) -> None:
        written.append(handle)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr("interp.whole_files.os.fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            recorded(tmp_path / "full")
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == [*parts(tmp_path / "whole")[:2], "sweep.json"]
    assert torch.equal(recorded(tmp_path / "full"), expected)


def test_37_a_folder_that_cannot_be_written_is_refused_before_the_cells_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")

    def run(*given: object) -> None:
        raise AssertionError("a cell was run")

    monkeypatch.setattr("interp.engine.wavefront.Wavefront.part", run)
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(OSError, match="file"):
            recorded(folder)

    # The tests may run as a user to whom no folder is read-only.
    def refused(**options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), options["dir"])

    monkeypatch.setattr("interp.whole_files.tempfile.mkstemp", refused)
    with pytest.raises(PermissionError, match="read-only"):
        recorded(tmp_path / "read-only")
    monkeypatch.undo()
    recorded(tmp_path / "read-only")


def test_37_parts_that_were_exchanged_are_refused(tmp_path: Path) -> None:
    recorded(tmp_path)
    first, second, *_ = (tmp_path / name for name in parts(tmp_path))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(JournalError, match=r"part-00000\.safetensors holds part 1, not 0\. Delete it"):
        recorded(tmp_path)
    first.write_bytes(content)
    recorded(tmp_path)


def run_with_threads(n: int, run: Callable[[], torch.Tensor]) -> torch.Tensor:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        return run()
    finally:
        torch.set_num_threads(before)


def test_39_threads_and_the_width_of_the_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = order_one_model(), pair()

    def run() -> torch.Tensor:
        return swept(model, *tokens, point="z", over=("layer", "head", "pos"), engine="wavefront").values

    expected = run()
    assert_close(run_with_threads(2, run), expected, rtol=0, atol=1e-12)
    monkeypatch.setattr("interp.engine.wavefront.MOST_NUMBERS", {"cpu": 12})
    assert_close(run(), expected, rtol=0, atol=1e-12)
    # In the same circumstances, to the last bit.
    assert torch.equal(run(), run())


def test_39_the_noise_floor_bounds_what_the_width_does_to_a_metric_in_float32() -> None:
    model, tokens = order_one_model(dtype=torch.float32), pair()
    floors = swept(model, *tokens, engine="wavefront", metric=Loss(tokens[0])).noise_floor
    assert floors is not None
    assert floors.shape == (3,)
    assert float(floors.max()) < 1e-4
    double = swept(order_one_model(), *tokens, engine="wavefront", metric=Loss(tokens[0])).noise_floor
    assert float(double.max()) < 1e-12
