"""What stands beside a model trained on sums: `card.json`, `card.md`, and prompts for the analyses."""

import json
from dataclasses import asdict
from math import log
from pathlib import Path
from typing import Any

import torch

from .addition import AdditionData, answer_losses, answered_right
from .batches import seeded
from .card import training_flops, versions
from .evaluation import Estimate
from .fitting import Trained
from .recipes import Recipe

_PROMPTS = 128


def write_addition_card(recipe: Recipe, trained: Trained[AdditionData], folder: Path) -> None:
    """`card.json`, `card.md` and `sample_tokens.json` (128 held-out sums) in the folder."""
    facts = measured(recipe, trained)
    rows = trained.data.held_out
    chosen = torch.randperm(len(rows), generator=seeded(recipe.seed, "sample"))[:_PROMPTS]
    (folder / "sample_tokens.json").write_text(json.dumps(rows[chosen].tolist()) + "\n", encoding="utf-8")
    (folder / "card.json").write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(addition_card_text(facts), encoding="utf-8")


def measured(recipe: Recipe, trained: Trained[AdditionData]) -> dict[str, Any]:
    """Everything that the card says, as JSON."""
    model, data = trained.model, trained.data
    losses = answer_losses(model, data.held_out)
    held_out = Estimate(float(losses.mean()), float(losses.std() / len(losses) ** 0.5))
    modulus = recipe.architecture.d_vocab - 1
    return {
        "name": recipe.name,
        "recipe": recipe.to_dict(),
        "corpus": {
            "source": f"the table of sums modulo {modulus}",
            "sha256": data.sha256,
            "train": {"sums": len(data.train)},
            "held_out": {"sums": len(data.held_out)},
        },
        "versions": versions(),
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "n_tokens": recipe.steps * recipe.batch,
        "flops": training_flops(recipe),
        "held_out": {"nats_per_token": asdict(held_out), "accuracy": answered_right(model, data.held_out)},
        "baselines": {"ln_d_vocab": log(recipe.architecture.d_vocab)},
        "curve": [asdict(point) for point in trained.curve],
    }


def addition_card_text(facts: dict[str, Any]) -> str:
    """The card as Markdown, made of `card.json` alone."""
    return "\n\n".join(section(facts) for section in (_head, _results, _recipe, _curve, _limits)) + "\n"


def _head(facts: dict[str, Any]) -> str:
    shape = facts["recipe"]["architecture"]
    modulus = shape["d_vocab"] - 1
    return (
        f"# {facts['name']}\n\n"
        f"A transformer that adds modulo {modulus}: it reads `a b =` and says (a + b) mod {modulus}. One block, width "
        f"{shape['d_model']}, {shape['n_heads']} heads of {shape['d_head']}, feed-forward {shape['d_mlp']} "
        f"({shape['act_fn']}), no norm, learned positions, untied unembedding; {facts['n_parameters']:,} parameters. "
        f"The numbers are the tokens 0 to {modulus - 1}, the sign = is token {modulus}. The set-up is that of Nanda et "
        "al. (2023), “Progress measures for grokking via mechanistic interpretability”.\n\n"
        f"Made by `interp train {facts['name']}`."
    )


def _results(facts: dict[str, Any]) -> str:
    held_out, corpus = facts["held_out"], facts["corpus"]
    nats = held_out["nats_per_token"]
    return (
        "## Results\n\n"
        "| | | |\n|---|---|---|\n"
        f"| right answers, sums held out | {held_out['accuracy']:.4%} | of {corpus['held_out']['sums']:,} |\n"
        f"| loss of the answer, held out | {nats['mean']:.2e} ± {nats['standard_error']:.1e} nats | ± one standard "
        "error over the sums |\n"
        f"| ln V | {facts['baselines']['ln_d_vocab']:.3f} nats | knowing nothing |"
    )


def _recipe(facts: dict[str, Any]) -> str:
    recipe, corpus = facts["recipe"], facts["corpus"]
    return (
        "## Recipe\n\n"
        f"The table has {corpus['train']['sums'] + corpus['held_out']['sums']:,} sums; a random "
        f"{corpus['train']['sums']:,} of them are learnt from. Only the answer is trained: what the model says at the "
        "positions of a and b means nothing, and position 3 is never read in training.\n\n"
        f"AdamW (betas {', '.join(map(str, recipe['betas']))}; decay {recipe['weight_decay']:g} on matrices only), "
        f"{recipe['steps']:,} steps of {recipe['batch']:,} sums, learning rate up to {recipe['learning_rate']:g} in "
        f"{recipe['warm_up']} steps and down by half a cosine to {recipe['final_learning_rate']:g}, gradients clipped "
        f"to norm {recipe['clip']:g}, seed {recipe['seed']}; weights start as `{recipe['scheme']}`, embeddings with "
        f"std {recipe['embedding_std']:.3g}. {facts['flops']:.1e} floating-point operations.\n\n"
        "The same seed, machine and versions give the same weights, bit for bit; another processor rounds differently. "
        "Versions: " + ", ".join(f"{name} {number}" for name, number in facts["versions"].items()) + "."
    )


def _curve(facts: dict[str, Any]) -> str:
    rows = [
        f"| {point['step']} | {point['train_loss']:.2e} | {point['held_out_loss']:.2e} |" for point in facts["curve"]
    ]
    return (
        "## Loss curve\n\nNats for each answer: training, the mean since the row before; held-out, all sums held out. "
        "That the second falls long after the first is what is called grokking.\n\n"
        "| step | training | held-out |\n|---|---|---|\n" + "\n".join(rows)
    )


def _limits(facts: dict[str, Any]) -> str:
    return (
        "## Good for, not good for\n\n"
        "Good for seeing a whole algorithm in weights: `interp modular-addition` finds the frequencies in which the "
        "model turns its numbers and shows that it needs those and no others. It was trained once, with one seed: "
        "another seed chooses other frequencies. Analyses of text have nothing to find here."
    )
