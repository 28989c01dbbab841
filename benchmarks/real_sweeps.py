"""Sweeps of a real model on a real task: SmolLM2-135M-Instruct on indirect object identification.

The contestants, their order and the figures are those of `benchmarks.sweeps`; TransformerLens' own sweep runs on its
bridge around `transformers`' model of the same weights. Needs the model: `make test-real` installs it.

    python -m benchmarks.real_sweeps [--pairs N] [--repeats N] [--seconds S] [--json FILE]
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from interp import LogitDifference, built_in
from models import HookedTransformer
from models.loading.smollm2 import smollm2_file

from .sweep_cases import GRIDS, Pairs
from .sweep_measured import Measured, counted, measured
from .sweep_subjects import Subject
from .sweeps import COLUMNS, environment_of, lines, peak_gigabytes

SWEEPS = ("resid_pre", "z by head")


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sample", type=int, default=4, help="cells that the slow contestants run in a round")
    parser.add_argument("--seconds", type=float, default=300, help="begin no further round of a case after these")
    parser.add_argument("--json", type=Path, help="every lap of every case")
    options = parser.parse_args(words)
    environment = environment_of("cpu")
    print(", ".join(f"{name} {value}" for name, value in environment.items()))
    results = []
    with torch.no_grad():
        for result in _results(options):
            results.append(asdict(result))
            print(*lines(result), sep="\n", flush=True)
            if options.json:  # after each case, so that an interrupted run leaves what it has measured
                options.json.write_text(json.dumps({"environment": environment, "results": results}, indent=1))
    print(f"peak memory of the whole process, both models included: {peak_gigabytes('cpu'):.2f} GB")


def _results(options: argparse.Namespace) -> Iterator[Measured]:
    subject = smollm2()
    given = indirect_objects(subject.model, options.pairs)
    print(f"{subject.about}, {options.pairs} pairs of {given.clean.shape[1]} tokens, {torch.get_num_threads()} threads")
    print(COLUMNS)
    for sweep in SWEEPS:
        count = counted(GRIDS[sweep], subject.model, given)
        yield measured(
            subject, sweep, given, count,
            n_sampled=options.sample, repeats=options.repeats, device="cpu", at_most=options.seconds,
        )  # fmt: skip


def smollm2() -> Subject:
    """The model of the installed package, and TransformerLens' bridge around `transformers`' model of it."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = HookedTransformer.from_pretrained_no_processing("smollm2", device="cpu").eval()
    file = smollm2_file()
    place = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    theirs = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    bridge = TransformerBridge.boot_transformers(
        "HuggingFaceTB/SmolLM2-135M-Instruct", device="cpu", hf_model=theirs,
        tokenizer=AutoTokenizer.from_pretrained(**place),
    )  # fmt: skip
    return Subject(model, bridge, torch.empty(0, dtype=torch.long), "SmolLM2-135M-Instruct, indirect objects")


def indirect_objects(model: HookedTransformer, n_pairs: int) -> Pairs:
    """Pairs of prompts that differ in one name."""
    found = built_in("ioi", n_pairs).on(model, most_common_length=True)
    return Pairs("one token", found.clean, found.corrupted, LogitDifference(found.answer, found.wrong))


if __name__ == "__main__":
    main()
