"""Ablation of heads and MLPs: what the model loses without each, without a block's heads, and without any set."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.component_ablation import Component, ablations, component
from interp.errors import OutOfRangeError
from interp.metrics import Loss
from interp.residual_ablation import Replacement
from interp.shapley import MOST
from models import HookedTransformer

from .ablation_figures import component_figure, layer_figure, map_figure, shapley_figure
from .ablation_identities import identities
from .ablation_tables import component_table, layer_table, measured, shapley_table
from .ablation_verdict import headline, numbers, verdict
from .errors import OptionError
from .next_token import require_next_token
from .result import Result
from .scored_positions import said, scored_positions

AT_LEAST, TOKENS = 8, 512
"""Prompts that are run at least; short ones are more, as many as make so many tokens."""


@dataclass(frozen=True)
class Options:
    """What stands in for what is taken out, and what is taken out together."""

    replacement: Replacement = field(
        default="mean",
        metadata={"help": "mean over the prompts at each position, zero, or the value on another prompt (resample)."},
    )
    heads: str | None = field(
        default=None, metadata={"help": "A set to take out at once, heads or MLPs: L0H1,L1H2,L1MLP."}
    )
    shapley: int = field(
        default=4, metadata={"help": f"How many of the strongest share the joint effect, 1 to {MOST}."}
    )
    prompts: int | None = field(default=None, metadata={"help": "Prompts that are run [8, or more of short ones]."})
    positions: int = field(default=64, metadata={"help": "Positions of each prompt that are run."})

    def __post_init__(self) -> None:
        if not 1 <= self.shapley <= MOST:
            raise ValueError(f"shapley={self.shapley} must be 1 to {MOST}: n components have 2^n sets")
        if self.prompts is not None and self.prompts < 1:
            raise ValueError(f"prompts={self.prompts} must be at least 1")
        if self.positions < 2:
            raise ValueError(f"positions={self.positions} must be at least 2, one to read and one to predict")


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """The effect on the loss of taking out each head, each MLP, all heads of each block, and the named set.

    Raises:
        NotApplicableError: the model does not predict the next token.
        OptionError: a set that names no component, or one twice.
        ValueError: tokens of one position, which have no loss.
    """
    require_next_token(model)
    chosen = _chosen(model, options.heads)
    run_on, reference = _prompts(tokens, options)
    kind = options.replacement if len(reference) > 1 else "zero"
    losses = _losses(model, run_on)
    scored = scored_positions(losses, model.cfg.d_vocab)
    metric = Loss(run_on, tuple(scored.nonzero().flatten().tolist()))
    ready = ablations(model, run_on, metric, kind, run_on if kind == "resample" else reference)
    found = measured(ready, chosen, options.shapley)
    components, layers, together = component_table(found), layer_table(found), shapley_table(found)
    return Result(
        name="ablation",
        title="Ablation of heads and MLPs",
        question="What does the model lose without each head, each MLP, all heads of a block, or several at once?",
        verdict=verdict(found, components, layers, together, kind, said(scored), ready.engine),
        numbers=numbers(found, components),
        headline=headline(components),
        tables={
            "Heads and MLPs": components,
            "All heads of a block at once": layers,
            "Several at once: shares of the joint effect": together,
        },
        figures={
            "Heads and MLPs": map_figure(components),
            "The strongest": component_figure(components),
            "All heads of a block at once": layer_figure(layers),
            "Several at once": shapley_figure(together),
        },
        identities=identities(ready, found),
        what_it_is="A head or an MLP is taken out: what it writes is replaced, at every position, by something that "
        "says nothing about the prompt, and everything behind it runs on. What the loss grows by is what the component "
        "was worth with everything else in place. Taken out together, components may cost more than the sum of what "
        "each costs alone (they stood in for one another, or must go together to be missed) or less (they worked on "
        "the same thing, or needed each other). The Shapley value shares the joint effect out: the mean, over all "
        "orders, of what the loss grows by when a component goes.",
        how_to_read="Bars to the right and warm colours: the loss grows without it. To the left, cold: the model does "
        "better without it on these prompts. Colours are scaled to the heads: an MLP may lie far "
        "beyond their end. A dot, and a bar that is not faint, marks what is beyond chance: p < 0.05, with an interval "
        "that leaves out 0. The mean is taken over the prompts at each position, the prompt itself "
        "among them, so a little of what is taken out stays: one part in the number of reference prompts. Zero takes "
        "also away what is the same on every prompt, which is often what costs most. p is adjusted for all heads and "
        "MLPs together (signs of whole prompts flipped, max-T). Intervals: 95 % over prompts, paired.",
        source="Li and Janson (2024), Optimal ablation; Wang et al. (2022), section 3 (mean ablation); Shapley (1953).",
    )


def _chosen(model: HookedTransformer, names: str | None) -> list[Component]:
    if names is None:
        return []
    try:
        chosen = [component(model, name) for name in names.split(",")]
    except OutOfRangeError as error:
        raise OptionError(str(error)) from error
    if len(set(chosen)) < len(chosen):
        raise OptionError(f"{names!r} names a component twice")
    return chosen


def _prompts(tokens: Int[Tensor, "batch pos"], options: Options) -> tuple[Tensor, Tensor]:
    """The prompts that are run, and those whose mean stands in: all that are given, up to some 4096 tokens."""
    if tokens.shape[1] < 2:
        raise ValueError(f"the loss needs a next token; tokens of shape {list(tokens.shape)} have none")
    tokens = tokens[:, : options.positions]
    wanted = options.prompts or max(AT_LEAST, TOKENS // tokens.shape[1])
    return tokens[:wanted], tokens[: max(wanted, 8 * TOKENS // tokens.shape[1])]


def _losses(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch predicted"]:
    return model(tokens, return_type="loss", loss_per_token=True)
