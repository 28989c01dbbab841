"""The runs of the induction analysis: the loss on repeated tokens, clean and with heads ablated."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.head_ablation import HeadOutputs, head_outputs, mean_ablation, path_ablation
from interp.hooks import Edit, edited
from interp.in_context import next_token_losses
from interp.interventions import freeze
from interp.invariants.reading import deviation
from interp.repeated_tokens import RepeatedTokens
from interp.sites import Cell, site
from models import HookedTransformer

from .induction_circuit import Circuit, names

CLEAN = "nothing"
PATHS = {"k": "keys", "q": "queries", "v": "values"}


@dataclass(frozen=True)
class Condition:
    """One ablation.

    Attributes:
        ablated: what was put to its mean.
        heads: those heads; of a control, how many.
        losses: next-token losses in nats, one entry a draw: a single one but for controls.
    """

    ablated: str
    heads: str
    losses: Sequence[Float[Tensor, "sequence predicted"]]

    @property
    def mean_losses(self) -> Float[Tensor, "sequence predicted"]:
        """The losses of each sequence, averaged over the draws."""
        return torch.stack(list(self.losses)).mean(dim=0)


@dataclass(frozen=True)
class Runs:
    """Every condition by name, the clean one first, and what backs them.

    Attributes:
        freeze_error: how far the logits move when the circuit's heads are put to their own output: not at all.
        write_error: how far the heads' parts and b_O are from what their attention layer wrote; backs the paths.
        no_paths: why there are no paths; empty where there are.
    """

    conditions: Mapping[str, Condition]
    freeze_error: float
    write_error: float
    no_paths: str


@torch.no_grad()
def all_runs(
    model: HookedTransformer,
    repeated: RepeatedTokens,
    reference: RepeatedTokens,
    circuit: Circuit,
    draws: int,
    generator: torch.Generator,
) -> Runs:
    """The losses under every ablation; means are over the reference's sequences, which are others."""
    layers = range(model.cfg.n_layers)
    own, means = (head_outputs(model, some.tokens, layers) for some in (repeated, reference))

    def losses(edits: Mapping[Cell, Edit], on: HookedTransformer = model) -> Tensor:
        with edited(on, edits):
            return next_token_losses(on, repeated.tokens)

    clean = next_token_losses(model, repeated.tokens)
    found = [Condition(CLEAN, "", [clean])]
    for label, heads in ((circuit.induction_name, circuit.induction), (circuit.previous_name, circuit.previous)):
        found.append(Condition(label, names(heads), [losses(mean_ablation(model, heads, means))]))
    for n in sorted({len(circuit.induction), len(circuit.previous)}):
        drawn = [losses(mean_ablation(model, heads, means)) for heads in circuit.controls(n, draws, generator)]
        if drawn:
            n_drawn = min(n, len(circuit.others))
            found.append(Condition(control(n), f"{n_drawn} of {len(circuit.others)}, {len(drawn)} draws", drawn))
    no_paths = _no_paths(model)
    if not no_paths:
        split = _split(model)
        for letter in PATHS:
            edits = path_ablation(split, circuit.previous, circuit.induction, letter, own, means)
            between = f"{names(circuit.previous)} to {names(circuit.induction)}"
            found.append(Condition(path(circuit, letter), between, [losses(edits, split)]))
    freezing: dict[Cell, Edit] = {
        site(model, f"blocks.{layer}.attn.hook_z").at(head=head): freeze(own[layer][:, :, head])
        for layer, head in (*circuit.previous, *circuit.induction)
    }
    return Runs(
        {condition.ablated: condition for condition in found},
        deviation(losses(freezing), clean),
        0.0 if no_paths else _write_error(model, repeated, own),
        no_paths,
    )


def control(n_heads: int) -> str:
    """The name of the control that ablates that many other heads."""
    return f"{n_heads} other head{'s' * (n_heads > 1)}, at random"


def path(circuit: Circuit, letter: str) -> str:
    """The name of the condition in which one way from the first half to the second is cut."""
    return f"{circuit.previous_name}, hidden from the {PATHS[letter]}"


def gain(repeated: RepeatedTokens, losses: Float[Tensor, "sequence predicted"]) -> Float[Tensor, " sequence"]:
    """How much lower, in nats, the loss is on the second copy than on the first."""
    first, second = (repeated.losses_of_copy(losses, copy).mean(dim=1) for copy in (0, 1))
    return first - second


def _no_paths(model: HookedTransformer) -> str:
    if model.cfg.norm_placement == "post":
        return "post-norm blocks norm the stream itself, so what one head wrote cannot be taken from it"
    if model.cfg.use_normalization_before_and_after:
        return "the blocks norm what the heads write together, so what one head wrote cannot be taken from it"
    return ""


def _split(model: HookedTransformer) -> HookedTransformer:
    split = deepcopy(model)
    if split.cfg.use_attn_in:
        split.set_use_attn_in(False)
    split.set_use_split_qkv_input(True)
    if split.cfg.n_key_value_heads is not None:
        # Each head's own keys and values, or hiding a writer from one would hide it from its whole group.
        split.set_ungroup_grouped_query_attention(True)
    return split


def _write_error(model: HookedTransformer, repeated: RepeatedTokens, own: HeadOutputs) -> float:
    wanted = [f"blocks.{layer}.hook_attn_out" for layer in range(model.cfg.n_layers)]
    _, cache = model.run_with_cache(repeated.tokens, names_filter=wanted)
    errors = []
    for layer, name in enumerate(wanted):
        summed = (own[layer][:, :, :, None] @ model.W_O[layer]).squeeze(3).sum(dim=2) + model.b_O[layer]
        errors.append(deviation(summed, cache[name]))
    return max(errors)
