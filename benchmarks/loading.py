"""Loading SmolLM2-135M-Instruct: time and peak memory, ours and TransformerLens' bridge, from the same weights.

Folded, too: `from_pretrained` beside the bridge's `enable_compatibility_mode`. Each load runs in a process of its
own, the ways in turn, round by round; a ratio is the median over the rounds of this way's figure over ours from the
same kind of file. What one package imports at once another imports on the way, and what one reads at once another
maps and reads later: compare "all", from the first import to the first logits. "copies" is what loading added to the
peak, over what the loaded model's parameters take. Needs the model: `make test-real` installs it.

    python -m benchmarks.loading [--rounds N] [--dtype bfloat16]
"""

# This process imports neither PyTorch nor the models: what a child's peak memory begins with is its parent's.
import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Place:
    """Where the weights are, and what they are to be."""

    folder: Path
    dtype: str

    def load_ours(self, model: Any, folded: bool) -> Any:
        import torch

        from models import HookedTransformer

        load = HookedTransformer.from_pretrained if folded else HookedTransformer.from_pretrained_no_processing
        return load(model, device="cpu", dtype=getattr(torch, self.dtype))

    def boot(self, folded: bool, **options: Any) -> Any:
        import torch
        from transformer_lens.model_bridge import TransformerBridge

        bridge = TransformerBridge.boot_transformers(
            str(self.folder), device="cpu", dtype=getattr(torch, self.dtype), **options
        )
        if folded:
            bridge.enable_compatibility_mode()
        return bridge


def ours_from_gguf(place: Place, folded: bool) -> Callable[[], Any]:
    import models  # noqa: F401  # timed here

    return lambda: place.load_ours("smollm2", folded)


def bridge_from_gguf(place: Place, folded: bool) -> Callable[[], Any]:
    import torch
    from transformer_lens.model_bridge import TransformerBridge  # noqa: F401  # timed here
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from models.loading.smollm2 import smollm2_file

    file = smollm2_file()

    def load() -> Any:
        stored = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
        model = AutoModelForCausalLM.from_pretrained(**stored, dtype=getattr(torch, place.dtype))
        return place.boot(folded, hf_model=model, tokenizer=AutoTokenizer.from_pretrained(**stored))

    return load


def ours_from_folder(place: Place, folded: bool) -> Callable[[], Any]:
    import models  # noqa: F401  # timed here

    return lambda: place.load_ours(place.folder, folded)


def bridge_from_folder(place: Place, folded: bool) -> Callable[[], Any]:
    from transformer_lens.model_bridge import TransformerBridge  # noqa: F401  # timed here

    return lambda: place.boot(folded)


# Each imports what it needs and returns the load itself, so that the two are timed apart.
WAYS: dict[str, Callable[[Place], Callable[[], Any]]] = {
    f"{kind}{', folded' if folded else ''}: {whose}": partial(way, folded=folded)
    for folded in (False, True)
    for kind, whose, way in (
        ("GGUF file", "ours", ours_from_gguf),
        ("GGUF file", "transformers, then bridge", bridge_from_gguf),
        ("Hugging Face folder", "ours", ours_from_folder),
        ("Hugging Face folder", "bridge", bridge_from_folder),
    )
}


def write_folder(place: Place) -> None:
    """The weights of the GGUF file as `transformers` saves them, with config and tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from models.loading.gguf import read_gguf
    from models.loading.smollm2 import smollm2_file

    source = read_gguf(smollm2_file())
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**source.config))
    names = [name for name in model.state_dict() if name in source.weights.remaining]
    model.load_state_dict({name: source.weights.take(name, *model.state_dict()[name].shape) for name in names}, False)
    model.tie_weights()
    source.weights.require_all_used()
    model.to(getattr(torch, place.dtype)).save_pretrained(place.folder)
    source.tokenizer.save_pretrained(place.folder)


def measure(way: str, place: Place, logits: Path) -> Figures:
    """One load in this process, and the first logits after it, which may be what really reads a mapped file."""
    begun = time.perf_counter()
    load = WAYS[way](place)
    figures = {"import": time.perf_counter() - begun, "peak before": peak()}
    begun = time.perf_counter()
    model = load()
    figures |= {"load": time.perf_counter() - begun, "peak loaded": peak()}

    import torch

    begun = time.perf_counter()
    with torch.no_grad():
        found = model((torch.arange(96) * 701 % 49152)[None]).float()
    figures |= {"first logits": time.perf_counter() - begun, "peak": peak()}
    # Folding moves all logits of a position by a constant.
    np.save(logits, (found - found.mean(-1, keepdim=True)).numpy())
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in model.parameters()}
    figures["weights"] = sum(storages.values()) / 2**20
    figures["copies"] = (figures["peak loaded"] - figures["peak before"]) / figures["weights"]
    return {**figures, "all": sum(figures[name] for name in ("import", "load", "first logits"))}


def peak() -> float:
    """The most memory this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / (1024 if sys.platform == "darwin" else 1)


def in_a_process_of_its_own(*arguments: str) -> Any:
    """What another run of this module prints last."""
    command = [sys.executable, "-m", "benchmarks.loading", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ran.stderr[-2000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def report(rounds: list[dict[str, Figures]], difference: float, dtype: str) -> Table:
    """The medians, and the ratios to ours."""
    of = f"SmolLM2-135M-Instruct, {dtype}, {len(rounds)} rounds"
    table = Table("way", title=f"{of}, seconds and MB; largest logit difference {difference:.2g}")
    shown = ("import", "load", "first logits", "all", "weights", "peak before", "peak loaded", "peak", "copies")
    for heading in (*shown, "all / ours", "peak / ours"):
        table.add_column(heading, justify="right")
    for way in WAYS:
        reference = f"{way.split(':')[0]}: ours"
        medians = [statistics.median(one[way][name] for one in rounds) for name in shown]
        ratios = [
            statistics.median(one[way][name] / one[reference][name] for one in rounds) for name in ("all", "peak")
        ]
        cells = [
            f"{value:.0f}" if name.startswith(("peak", "weights")) else f"{value:.2f}"
            for name, value in zip(shown, medians, strict=True)
        ]
        table.add_row(way, *cells, *(f"{ratio:.2f}" for ratio in ratios))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        way, folder, *logits = arguments.child
        here = Place(Path(folder), arguments.dtype)
        print(json.dumps(measure(way, here, Path(logits[0])) if logits else write_folder(here)))
        return
    with tempfile.TemporaryDirectory() as place:
        child = ("--dtype", arguments.dtype, "--child")
        folder = f"{place}/model"
        in_a_process_of_its_own(*child, "write", folder)
        rounds = [
            {way: in_a_process_of_its_own(*child, way, folder, f"{place}/{at}.npy") for at, way in enumerate(WAYS)}
            for _ in range(arguments.rounds)
        ]
        logits = [np.load(f"{place}/{at}.npy") for at in range(len(WAYS))]
    difference = max(float(abs(one - logits[0]).max()) for one in logits)
    Console(width=190).print(report(rounds, difference, arguments.dtype))


if __name__ == "__main__":
    main()
