"""Direct logit attribution: which components, heads and neurons write the token that really comes next."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from interp.attribution import Attribution, Target, attribution
from interp.errors import NotASumError
from interp.invariants.invariant import ROUNDING
from interp.invariants.reading import deviation
from interp.residual import require_sum
from models import HookedTransformer
from models.addition import ANSWERED_AT

from .attribution_figures import head_figure, layer_figure, neuron_figure, position_figure
from .attribution_tables import component_table, layer_table, neuron_table, position_table, shares_of
from .attribution_verdict import numbers, verdict
from .errors import NotApplicableError, OptionError
from .next_token import require_next_token
from .result import Identity, Result


@dataclass(frozen=True)
class Options:
    """What is averaged over, and what is drawn."""

    neurons: int = field(default=12, metadata={"help": "Neurons that are listed, the strongest ones."})
    drawn_prompt: int = field(default=0, metadata={"help": "Which prompt is drawn token by token."})
    positions: int = field(default=32, metadata={"help": "How many of its positions are drawn."})
    last_only: bool = field(default=False, metadata={"help": "Ask only for each prompt's last token."})

    def __post_init__(self) -> None:
        if self.drawn_prompt < 0 or self.positions < 1 or self.neurons < 1:
            raise ValueError(
                f"drawn_prompt={self.drawn_prompt} counts from 0; positions={self.positions} and neurons="
                f"{self.neurons} must be at least 1"
            )


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """The share of each component, head and neuron in the true next token's logit above the mean logit.

    Raises:
        NotApplicableError: a stream that is no sum, or a model that does not predict the next token.
        OptionError: a prompt that is not there.
        ValueError: fewer than two positions.
    """
    _require_applicable(model, tokens, options)
    # The last position has no next token; what stands in for it is left out of every average.
    found = attribution(model, tokens, Target(tokens.roll(-1, dims=1), "mean"))
    last_only = options.last_only or _are_sums(model, tokens)
    shares = shares_of(found, last_only)
    components = component_table(found, shares)
    layers, neurons = layer_table(found, shares), neuron_table(found, shares, options.neurons)
    by_position = position_table(model, tokens, found, options.drawn_prompt, options.positions)
    tables = {"By layer": layers, "By component": components}
    figures = {"What each layer adds": layer_figure(layers), "Heads": head_figure(components)}
    if len(neurons):
        tables["Strongest neurons"] = neurons
        figures["Strongest neurons"] = neuron_figure(neurons)
    tables["One prompt, token by token"] = by_position
    figures["One prompt, token by token"] = position_figure(by_position)
    return Result(
        name="attribution",
        title="Direct logit attribution",
        question="Which components, heads and neurons write the token that really comes next?",
        verdict=verdict(model, shares, layers, components, neurons, last_only),
        numbers=numbers(shares, layers, components, neurons),
        tables=tables,
        figures=figures,
        identities=_identities(model, found),
        what_it_is="The stream that the unembedding reads is a sum of everything that was written into it, so the "
        "logit of a token is a sum of shares, one for each writer: the product of what it wrote with the token's "
        "direction, through the final norm held at the scale that it had. The target is the logit of the token that "
        "really comes next, less the mean logit, which softmax drops.",
        how_to_read="Coloured bars are shares of the true next token's logit, grey bars the null: the share that the "
        "same write gives, on average, to the tokens that come next elsewhere in the prompts. What exceeds it "
        "singles out this token at this place; the rest raises whatever is frequent. A share says what is written, "
        "not what would be lost without it: later layers read it too, and the norm's scale would change. The listed "
        "neurons are the strongest of many, so theirs is partly the luck of the draw. Intervals: 95 % over prompts.",
        source="Elhage et al. (2021), A Mathematical Framework for Transformer Circuits; Wang et al. (2022), "
        "section 3.1.",
    )


def _require_applicable(model: HookedTransformer, tokens: Tensor, options: Options) -> None:
    try:
        require_sum(model)
    except NotASumError as error:
        raise NotApplicableError(str(error)) from error
    require_next_token(model)
    if tokens.shape[1] < 2:
        raise ValueError(f"there is no next token in tokens of shape {list(tokens.shape)}")
    if options.drawn_prompt >= tokens.shape[0]:
        raise OptionError(
            f"prompt {options.drawn_prompt} is not there: the batch has {tokens.shape[0]}, counted from 0"
        )


def _are_sums(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> bool:
    """Whether the rows are a, b, =, a + b modulo the vocabulary less one: only the last token can be foreseen there."""
    modulus = model.cfg.d_vocab - 1
    if tokens.shape[1] != ANSWERED_AT + 2 or modulus < 2:
        return False
    a, b, sign, answer = tokens.T
    return bool(((sign == modulus) & (answer == (a + b) % modulus)).all())


def _identities(model: HookedTransformer, found: Attribution) -> list[Identity]:
    allowed = ROUNDING.by_dtype[model.cfg.dtype]
    written = torch.stack([write.value() for write in found.writes]).sum(dim=0)
    return [
        Identity("the shares sum to the logit", deviation(found.shares.sum(dim=0), found.value), allowed),
        Identity("the components sum to the stream", deviation(written, found.stream), allowed),
    ]
