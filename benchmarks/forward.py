"""Forward, cache and hooks against plain PyTorch and TransformerLens' native bridge, on the same weights.

Each round times every candidate once, in a fresh random order; a figure is the median over rounds of the ratio to
the plain model's forward of the same round, so that a machine whose speed drifts cancels out.

    python -m benchmarks.forward [--rounds N]
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from models import HookedTransformer, HookedTransformerConfig, multi_block, one_head

from . import native_bridge, plain_model

SIZES: dict[str, tuple[HookedTransformerConfig, int, int]] = {
    # name: config, batch, length. The bridge always has a final norm, so the one-head model is given one.
    "one head, d 64, V 50257, T 8": (one_head(final_norm=True, seed=0, device="cpu"), 1, 8),
    "4 blocks x 256, V 5000, T 64": (multi_block(4, 4, 256, d_vocab=5000, n_ctx=64, seed=0, device="cpu"), 1, 64),
    "12 blocks x 768 (GPT-2 small), V 50257, T 64": (multi_block(12, 12, 768, n_ctx=64, seed=0, device="cpu"), 1, 64),
}

Call = Callable[[], object]


def candidates(config: HookedTransformerConfig, batch: int, length: int) -> tuple[dict[str, Call], float]:
    """What is timed, by name, and the largest difference between any two models' logits."""
    ours = HookedTransformer(config).eval()
    plain, bridge = plain_model.from_hooked(ours), native_bridge.from_hooked(ours)
    tokens = torch.randint(config.d_vocab, (batch, length), generator=torch.Generator().manual_seed(1))
    hooks = [(f"blocks.{layer}.hook_resid_post", lambda x, hook: None) for layer in range(config.n_layers)]
    logits = [model(tokens) for model in (plain, ours, bridge)]
    difference = max(float((a - b).abs().max()) for a in logits for b in logits)
    return {
        "plain forward": lambda: plain(tokens),
        "ours forward": lambda: ours(tokens),
        "bridge forward": lambda: bridge(tokens),
        "ours cache": lambda: ours.run_with_cache(tokens),
        "bridge cache": lambda: bridge.run_with_cache(tokens),
        "ours hooks": lambda: ours.run_with_hooks(tokens, fwd_hooks=hooks),
        "bridge hooks": lambda: bridge.run_with_hooks(tokens, fwd_hooks=hooks),
    }, difference


def ratios(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """For each candidate and round, its time over the plain forward's."""
    order, seconds = list(calls), dict.fromkeys(calls, 0.0)
    result: dict[str, list[float]] = {name: [] for name in calls}
    shuffle = random.Random(0)
    for round_ in range(rounds + 2):  # the first two warm up
        shuffle.shuffle(order)
        for name in order:
            start = time.perf_counter()
            calls[name]()
            seconds[name] = time.perf_counter() - start
        if round_ >= 2:
            for name in calls:
                result[name].append(seconds[name] / seconds["plain forward"])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    rounds = parser.parse_args().rounds
    table = Table(
        "size", *["ours", "bridge", "ours cache", "bridge cache", "ours hooks", "bridge hooks", "max difference"]
    )
    for size, (config, batch, length) in SIZES.items():
        with torch.inference_mode():
            calls, difference = candidates(config, batch, length)
            measured = ratios(calls, rounds)
        names = list(calls)[1:]
        table.add_row(size, *(f"{statistics.median(measured[name]):.2f}" for name in names), f"{difference:.1e}")
    # Wide enough for every column, also where the output is a file.
    console = Console(width=140)
    console.print(f"times over plain PyTorch's forward, medians of {rounds} rounds, {torch.get_num_threads()} threads")
    console.print(table)


if __name__ == "__main__":
    main()
