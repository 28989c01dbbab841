"""The induction circuit: a previous-token head, a later head that reads it through its keys, and what both are for."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import TokensError
from interp.head_scores import attention_scores
from interp.invariants.invariant import ROUNDING
from interp.repeated_tokens import RepeatedTokens, repeated_random_tokens
from models import HookedTransformer

from .errors import NotApplicableError
from .folded import folded_copy
from .head_tables import kind_table
from .induction_circuit import Circuit, circuit
from .induction_figures import ablation_figure, composition_figure, loss_figure, scores_figure
from .induction_runs import CLEAN, Runs, all_runs, control, path
from .induction_tables import ablation_table, composition_table, position_table
from .induction_verdict import Found, headline, numbers, text_score, verdict
from .result import Identity, Result

KINDS = ("previous token", "induction")
COPIES = 2


@dataclass(frozen=True)
class Options:
    """How much is run, and from where on a head counts."""

    sequences: int = field(default=16, metadata={"help": "Random sequences everything is averaged over."})
    threshold: float = field(
        default=0.4, metadata={"help": "How far from chance (0) to all attention (1) a head of a kind is."}
    )
    draws: int = field(default=4, metadata={"help": "Random sets of other heads that are ablated as a control."})
    seed: int = field(default=0, metadata={"help": "Seed of the random sequences and of the control's heads."})

    def __post_init__(self) -> None:
        if self.sequences < 2 or self.draws < 1 or not 0 < self.threshold < 1:
            raise ValueError(
                f"sequences={self.sequences} must be at least 2, for an interval, draws={self.draws} at least 1, and "
                f"threshold={self.threshold} between 0 and 1"
            )


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """Both halves of the circuit, how they compose, and what is lost of the in-context gain without them.

    Raises:
        NotApplicableError: one layer, attention to later tokens, outputs that are not the next token, or a context or
            vocabulary too small for repeated random tokens.
    """
    _require_applicable(model)
    generator = torch.Generator().manual_seed(options.seed)
    repeated, reference = (_repeated(model, options, generator) for _ in range(2))
    scores = attention_scores(model, repeated.tokens, KINDS)
    heads = circuit(scores.by_kind["previous token"], scores.by_kind["induction"], options.threshold)
    runs = all_runs(model, repeated, reference, heads, options.draws, generator)
    folded, how_folded = folded_copy(model)
    found = Found(
        heads,
        pd.concat([kind_table(kind, scores.by_kind[kind], options.threshold) for kind in KINDS], ignore_index=True),
        composition_table(folded, heads),
        ablation_table(runs, repeated),
        text_score(model, tokens),
        f"{options.sequences} random sequences of {repeated.length} different tokens, twice in a row",
        model.cfg.positional_embedding_type == "rotary",
        f"{how_folded} {_no_paths(runs)}".strip(),
    )
    positions = position_table(runs, repeated)
    return Result(
        name="induction",
        title="Induction heads",
        question="Does the model continue what it has seen before, which heads do it, how are they put together, and "
        "what is lost without them?",
        verdict=verdict(found),
        headline=headline(found),
        numbers=numbers(found),
        tables={
            "What ablation takes from the gain": found.ablations,
            "Scores": found.scores,
            "K-composition": found.compositions,
            "Loss along the sequence": positions,
        },
        figures={
            "Loss along the sequence": loss_figure(positions, _shown(runs, heads)),
            "What ablation takes from the gain": ablation_figure(found.ablations),
            "Both halves of the circuit": scores_figure(found.scores),
            "K-composition with the induction heads": composition_figure(found.compositions),
        },
        identities=_identities(model, scores.row_error, runs),
        what_it_is="In a random sequence that comes twice, only the second copy can be predicted, and only by looking "
        "back. The known mechanism takes two heads: one writes at each position which token came before; a later one "
        "looks, with the present token as query, for a position whose previous token was the same (its keys hold what "
        "the first head wrote: K-composition), and copies what stands there. Each half is found by where it looks, "
        "their composition is read from the weights, and both are then ablated: every head's output is replaced by "
        "its mean over other random sequences, position by position.",
        how_to_read="The gain is the loss on the first copy less that on the second, without each copy's first token. "
        "If the circuit is what makes it, ablating either half takes it away, hiding the first half from the second's "
        "keys alone (“hidden from the keys”) takes it away too, and ablating as many other heads at random does not. "
        "Ablation says what is lost with everything else as it was: heads that could step in may not have been called "
        "upon. The null of the composition is a random rotation between the two heads, which most pairs of a trained "
        "model exceed: compare it with the other earlier heads. With rotary positions it is that of distance zero. "
        "Intervals: 95 % over sequences, paired where gains are compared, not corrected for the number of heads.",
        source="Elhage et al. (2021), Induction heads; Olsson et al. (2022), In-context Learning and Induction Heads.",
    )


def _require_applicable(model: HookedTransformer) -> None:
    if model.cfg.n_layers < 2:
        raise NotApplicableError("it has one layer, and induction takes a head that reads what an earlier one wrote")
    if model.cfg.attention_dir == "bidirectional":
        raise NotApplicableError("its attention sees later tokens, so that nothing is left to be predicted")
    if model.cfg.d_vocab != model.cfg.d_vocab_out:
        raise NotApplicableError(
            f"its {model.cfg.d_vocab_out} outputs are not the {model.cfg.d_vocab} tokens it reads, so the next token "
            "has no loss"
        )


def _repeated(model: HookedTransformer, options: Options, generator: torch.Generator) -> RepeatedTokens:
    try:
        return repeated_random_tokens(model, options.sequences, generator, copies=COPIES)
    except TokensError as error:
        raise NotApplicableError(str(error)) from error


def _no_paths(runs: Runs) -> str:
    return f"No single path was cut: {runs.no_paths}." if runs.no_paths else ""


def _shown(runs: Runs, heads: Circuit) -> list[str]:
    wanted = (CLEAN, heads.induction_name, heads.previous_name, path(heads, "k"), control(len(heads.induction)))
    return [name for name in wanted if name in runs.conditions]


def _identities(model: HookedTransformer, row_error: float, runs: Runs) -> list[Identity]:
    allowed = ROUNDING.by_dtype[model.cfg.dtype]
    identities = [
        Identity("each query's attention to the keys that it may see sums to one", row_error, allowed),
        Identity("the circuit's heads put to their own output change no loss", runs.freeze_error, allowed),
    ]
    if not runs.no_paths:
        statement = "the heads' parts and b_O sum to what their layer wrote"
        identities.append(Identity(statement, runs.write_error, allowed))
    return identities
