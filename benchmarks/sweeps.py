"""Whole patching sweeps: TransformerLens 4.3's own, our plain engine and the wavefront, on the same weights.

TransformerLens runs `patching.get_act_patch_*` on its native bridge and on our model. It and our plain engine run the
whole model for each cell, so they are measured on a seeded sample of the live cells, and their cost for the grid is
that of one cell times the cells that they run: all of them for TransformerLens, the live ones for our plain engine
(which knows the dead ones beforehand). The wavefront is measured on the whole grid, unedited runs and checks included.
Contestants run in turn, in a fresh order each round, after a warm-up. Milliseconds are medians over rounds, for each
cell of the grid; ratios are medians of those within a round. Differences are the largest of the metric at the sampled
cells to the plain engine; "effect" is the largest effect among them, for comparison.

"fewer": how many times fewer operations the method needs at least (`sweep_floor.py`) than a whole forward pass for each
cell: what the ratio could be if both ran at one rate. "of floor": these least operations, at the fastest rate of
float32 matrix products seen in the same round, as a share of the wavefront's time. Every case is printed by the clock
on the wall and by the processor time of all threads, which a busy machine changes less.

    python -m benchmarks.sweeps [--quick] [--json FILE]
"""

import argparse
import json
import os
import platform
import resource
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .rounds import MatrixProducts
from .sweep_cases import GRIDS, SHAPES, pairs
from .sweep_contestants import BRIDGE, OURS, PLAIN, WAVEFRONT
from .sweep_measured import CLOCKS, Measured, counted, measured
from .sweep_subjects import SUBJECTS

COLUMNS = (
    f"{'sweep':<18}{'tokens':>7}{'pairs':>6} {'differ in':<12}{'cells':>6}{'live':>6}{'fewer':>6}{'rounds':>7}"
    f" {'clock':<5}"
    f" |{'ms/cell: bridge':>16}{'ours':>9}{'plain':>9}{'wave':>9} |{'times: bridge':>14}{'ours':>7}{'plain':>7}"
    f" |{'of floor':>9} |{'differs: bridge':>16}{'ours':>9}{'wave':>9}{'effect':>9}"
)


def main(words: list[str] | None = None) -> None:
    options = _options(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    environment = environment_of(options.device)
    print(", ".join(f"{name} {value}" for name, value in environment.items()))
    results = []
    for name in options.models:
        for result in _results(name, options):
            results.append({"model": name, **asdict(result)})
            print(*lines(result), sep="\n", flush=True)
            if options.json:  # after each case, so that an interrupted run leaves what it has measured
                options.json.write_text(json.dumps({"environment": environment, "results": results}, indent=1))
    print(f"peak memory of the whole process, both models included: {peak_gigabytes(options.device):.2f} GB")


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument(
        "--only", nargs="+", choices=GRIDS, default=list(GRIDS)[:3], metavar="SWEEP", help=str([*GRIDS])
    )
    parser.add_argument("--tokens", nargs="+", type=int, default=[16, 24, 64])
    parser.add_argument("--pairs", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--differ", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="default: what PyTorch takes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sample", type=int, default=6, help="cells that the slow contestants run in a round")
    parser.add_argument("--seconds", type=float, default=90, help="begin no further round of a case after these")
    parser.add_argument("--longest", type=float, default=300, help="leave out cases whose floor is more seconds")
    parser.add_argument("--json", type=Path, help="every lap of every case")
    parser.add_argument("--quick", action="store_true", help="the small model and one short pair")
    if parser.parse_args(words).quick:
        parser.set_defaults(models=["stdlib-4l"], tokens=[16], pairs=[1])
    return parser.parse_args(words)


@torch.no_grad()
def _results(name: str, options: argparse.Namespace) -> Iterator[Measured]:
    subject = SUBJECTS[name](options.device)
    print(f"\n{name}: {subject.about}\n{COLUMNS}")
    products = MatrixProducts(options.device)
    products()
    for n_tokens in options.tokens:
        for n_pairs in options.pairs:
            for shape in options.differ:
                given = pairs(subject.text, n_pairs, n_tokens, shape, seed=2)
                for sweep in options.only:
                    count = counted(GRIDS[sweep], subject.model, given)
                    needed = count.operations / products.best["wall"][-1]
                    if needed > options.longest:
                        print(f"{sweep:<18}{n_tokens:>7}{n_pairs:>6} {shape:<12} left out: its floor is {needed:.0f} s")
                        continue
                    yield measured(
                        subject,
                        sweep,
                        given,
                        count,
                        n_sampled=options.sample,
                        repeats=options.repeats,
                        device=options.device,
                        at_most=options.seconds,
                    )


def lines(result: Measured) -> Iterator[str]:
    """A case as printed, once by each clock."""
    case = (
        f"{result.sweep:<18}{result.n_tokens:>7}{result.n_pairs:>6} {result.differ:<12}{result.n_cells:>6}"
        f"{result.n_live:>6}{result.fewer:>6.1f}{result.rounds:>7}"
    )
    differences = _numbers(result.differences, ((BRIDGE, 16), (OURS, 9), (WAVEFRONT, 9)), ".1e")
    for clock in CLOCKS:
        of = result.figures[clock]
        milliseconds = _numbers(of.cell_ms, ((BRIDGE, 16), (OURS, 9), (PLAIN, 9), (WAVEFRONT, 9)), ".2f")
        ratios = _numbers(of.ratios, ((BRIDGE, 14), (OURS, 7), (PLAIN, 7)), ".1f")
        shares = f"{of.of_floor:>9.2f} |{differences}{result.largest_effect:>9.1e}"
        yield f"{case} {clock:<5} |{milliseconds} |{ratios} |{shares}"
    if not result.dead_agree:
        yield "  the wavefront and the floor do not agree on which cells are dead"


def _numbers(of: dict[str, float], columns: tuple[tuple[str, int], ...], form: str) -> str:
    return "".join(f"{format(of[name], form):>{width}}" for name, width in columns)


def environment_of(device: str) -> dict[str, Any]:
    """What was measured on, with which versions."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformer-lens": version("transformer-lens"),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load before": round(os.getloadavg()[0], 2),
    }


def peak_gigabytes(device: str) -> float:
    """The most memory that the process has held so far."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
