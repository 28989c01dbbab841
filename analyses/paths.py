"""Path expansion: what direct paths, single heads and virtual heads of an attention-only model are worth."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import NotASumError
from interp.invariants.invariant import ROUNDING
from interp.invariants.reading import deviation, is_causal, worst
from interp.path_expansion import FrozenModel, require_attention_only, virtual_pattern
from models import HookedTransformer

from .errors import NotApplicableError
from .paths_figures import head_figure, order_figure, virtual_figure
from .paths_tables import Paths, head_table, order_table, paths_of, virtual_table
from .paths_verdict import numbers, verdict
from .result import Identity, Result


@dataclass(frozen=True)
class Options:
    """How many virtual heads are left out one by one."""

    virtual_heads: int = field(
        default=32, metadata={"help": "Virtual heads whose removal is run, those that cost most to first order."}
    )

    def __post_init__(self) -> None:
        if self.virtual_heads < 1:
            raise ValueError(f"virtual_heads={self.virtual_heads} must be at least 1")


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """The loss by truncation order, and what each head and the strongest virtual heads are worth at frozen patterns.

    Raises:
        NotApplicableError: MLPs, post-norm blocks, or outputs that are not the next token.
        ValueError: fewer than two positions.
    """
    _require_applicable(model, tokens)
    paths = paths_of(model, tokens, options.virtual_heads)
    orders, heads, virtual = order_table(paths), head_table(paths), virtual_table(paths)
    tables = {"By order": orders, "Single heads": heads}
    figures = {"What each order is worth": order_figure(orders), "Single heads": head_figure(heads)}
    if len(virtual):
        tables["Virtual heads"] = virtual
        figures["Virtual heads"] = virtual_figure(virtual)
    return Result(
        name="paths",
        title="Paths through an attention-only model",
        question="How much of the prediction is a direct path from token to output, how much goes through one head, "
        "and how much through heads that read what other heads wrote?",
        verdict=verdict(model, paths, orders, heads, virtual),
        numbers=numbers(paths, orders, heads, virtual),
        tables=tables,
        figures=figures,
        identities=_identities(model, tokens, paths),
        what_it_is="Once it is settled where heads look, an attention-only model is a sum over paths: straight from "
        "the token to the logits (order 0), through one head (order 1), through a head that moves what another head "
        "had moved (order 2, a virtual head), and so on. The logits are taken with all paths up to an order, and the "
        "loss of that is compared with the next; what biases add whatever the token comes first.",
        how_to_read="Patterns and norm scales are held at their values in the full model. So an order is worth what "
        "its paths carry to the output: what heads do by telling later heads where to look (Q- and K-composition) is "
        "in the patterns, and counted with the paths that use them. Leaving a head out alone is not the same as what "
        "all heads are worth together: they share their work. The first-order cost is the slope of the loss; where a "
        "virtual head was really left out, the table says so. Intervals: 95 % over prompts.",
        source="Elhage et al. (2021), A Mathematical Framework for Transformer Circuits: path expansion, term "
        "importance analysis.",
    )


def _require_applicable(model: HookedTransformer, tokens: Tensor) -> None:
    try:
        require_attention_only(model)
    except NotASumError as error:
        raise NotApplicableError(str(error)) from error
    if model.cfg.d_vocab_out != model.cfg.d_vocab:
        raise NotApplicableError(
            f"its {model.cfg.d_vocab_out} outputs are not the {model.cfg.d_vocab} tokens it reads, so there is no "
            "next-token loss"
        )
    if tokens.shape[1] < 2:
        raise ValueError(f"the loss needs a next token; tokens of shape {list(tokens.shape)} have none")


def _identities(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], paths: Paths) -> list[Identity]:
    allowed, frozen = ROUNDING.by_dtype[model.cfg.dtype], paths.frozen
    summed = frozen.read_out(paths.orders.sum(dim=0) + frozen.biases()) + frozen.constant()
    loss = model(tokens, return_type="loss").double()
    one_by_one = torch.stack([heads.sum(dim=0) for heads in paths.single]).sum(dim=0)
    identities = [
        Identity("all paths and biases sum to the logits", deviation(frozen.capped(summed), frozen.logits), allowed),
        Identity("the loss with all orders is the model's", deviation(paths.losses[-1].mean(), loss), allowed),
        Identity("the single heads sum to order 1", deviation(one_by_one, paths.orders[1]), allowed),
    ]
    if paths.virtual_sum is not None:
        identities.append(
            Identity("the virtual heads sum to order 2", deviation(paths.virtual_sum, paths.orders[2]), allowed)
        )
        identities.append(
            Identity(
                "virtual heads look at earlier positions only, with rows that sum to 1"
                if is_causal(model)
                else "the rows of virtual heads sum to 1",
                _virtual_off(frozen, is_causal(model)),
                allowed,
            )
        )
    return identities


def _virtual_off(frozen: FrozenModel, causal: bool) -> float:
    """How far the virtual heads of the first two layers are from rows of shares, none of them of a later position."""
    earlier, later = (layer.patterns for layer in frozen.layers[:2])
    errors = []
    for head in range(earlier.shape[1]):
        virtual = virtual_pattern(later, earlier[:, head : head + 1])
        errors += [float((virtual.sum(dim=-1) - 1).abs().max()), float(-virtual.min().clamp(max=0))]
        if causal:
            errors.append(float(virtual.triu(diagonal=1).abs().max()))
    return worst(errors)
