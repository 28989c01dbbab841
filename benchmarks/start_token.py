"""What a start token before every text does to SmolLM2-135M-Instruct: its tasks, and its loss on a text.

python -m benchmarks.start_token [--prompts N] [--text FILE]
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from interp import built_in
from models import HookedTransformer

TASKS = ("agreement", "ioi", "induction", "capitals")

WINDOWS, WINDOW = 4, 512


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--text", type=Path, help=f"of which the first {WINDOWS} × {WINDOW} tokens are read")
    options = parser.parse_args(words)
    model = HookedTransformer.from_pretrained_no_processing("smollm2", device="cpu", dtype=torch.float32)
    with torch.no_grad():
        for prepend in (True, False):
            model.cfg = replace(model.cfg, default_prepend_bos=prepend)
            print(f"{'with' if prepend else 'without'} {model.tokenizer.bos_token}")
            for name in TASKS:
                print(f"  {name}: {solved(model, name, options.prompts)}")
            if options.text:
                loss, count = loss_on(model, options.text.read_text(encoding="utf-8"), prepend)
                print(f"  loss of {count} tokens: {loss:.3f} nats")


def solved(model: HookedTransformer, name: str, n_prompts: int) -> str:
    """How often the answer is ahead of the distractor, and by how much in the mean."""
    baseline = built_in(name, n_prompts, 0).on(model, most_common_length=True).baseline(model)
    right = int((baseline.clean > 0).sum())
    return f"{right} of {len(baseline.clean)} right, logit difference {float(baseline.clean_mean.mean):.2f}"


def loss_on(model: HookedTransformer, text: str, prepend: bool) -> tuple[float, int]:
    """The mean loss of the same tokens either way: all of each window but its first."""
    tokens = model.to_tokens(text, prepend_bos=False, truncate=False)[0, : WINDOWS * WINDOW].reshape(WINDOWS, WINDOW)
    if prepend:
        start = torch.full((WINDOWS, 1), model.tokenizer.bos_token_id)
        tokens = torch.cat([start, tokens], dim=1)
    losses = model(tokens, return_type="loss", loss_per_token=True)[:, 1 - WINDOW :]
    return float(losses.mean()), losses.numel()


if __name__ == "__main__":
    main()
