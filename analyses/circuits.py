"""QK and OV circuits: what each head looks for, what it moves, and which heads read which."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from interp.weights import copying_scores
from models import HookedTransformer

from .circuit_figures import composition_figure, copying_figure, spectrum_figure
from .circuit_tables import TopTokens, bias_table, composition_table, head_table, spectrum_table, top_tokens
from .folded import folded_copy
from .result import Result

SIGNIFICANT = 3.0
"""How many standard deviations of its null a score must be away to be called more than chance."""


MOST_TOKENS, MOST_ENTRIES = 4096, 2**33


@dataclass(frozen=True)
class Options:
    """How much is listed."""

    top: int = field(default=5, metadata={"help": "Pairs of tokens listed for each head and circuit."})
    vocabulary: int | None = field(
        default=None,
        metadata={
            "help": "Tokens the full circuits run over; a larger vocabulary is thinned evenly (default: 4096, fewer "
            "for a model of many heads)."
        },
    )

    def __post_init__(self) -> None:
        if self.vocabulary is not None and self.vocabulary < 2:
            raise ValueError(f"vocabulary={self.vocabulary} must be at least 2")
        if not 1 <= self.top <= (self.vocabulary or MOST_TOKENS):
            raise ValueError(f"top={self.top} must be from 1 to vocabulary={self.vocabulary or MOST_TOKENS}")

    def tokens_for(self, model: HookedTransformer) -> int:
        """How many tokens the full circuits run over: entries of all heads are a few minutes' work at most."""
        if self.vocabulary is not None:
            return self.vocabulary
        entries_a_token = model.cfg.n_layers * model.cfg.n_heads * model.cfg.d_vocab_out
        return max(min(MOST_TOKENS, MOST_ENTRIES // entries_a_token), self.top, 2)


@torch.no_grad()
def run(model: HookedTransformer, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """Spectra, copying scores, top tokens, composition and bias terms of every head, from the folded weights.

    The tokens serve for one thing: how much the bias terms weigh against the rest of the score on real text.
    """
    folded, how_folded = folded_copy(model)
    copying = None
    if folded.cfg.d_vocab == folded.cfg.d_vocab_out:
        copying = copying_scores(folded.W_E, folded.W_V.flatten(0, 1), folded.W_O.flatten(0, 1), folded.W_U)
    top = top_tokens(folded, options.top, options.tokens_for(folded))
    heads = head_table(folded, copying, top.own_on_top)
    spectra, compositions, biases = spectrum_table(folded), composition_table(folded), bias_table(folded, tokens)
    figures = {f"Singular values of {circuit}": spectrum_figure(spectra, circuit) for circuit in ("QK", "OV")}
    if copying is not None:
        figures["Copying"] = copying_figure(heads, SIGNIFICANT)
    if len(compositions):
        figures["Composition above the baseline"] = composition_figure(compositions)
    return Result(
        name="circuits",
        title="QK and OV circuits",
        question="Read from the weights alone: what does each head look for, what does it move, does it copy, and "
        "which heads read what others write?",
        verdict="\n".join(
            (
                _about_copying(heads, top),
                _about_composition(compositions),
                _about_rank(folded, heads),
                _about_biases(folded, biases),
                how_folded,
            )
        ),
        numbers=_numbers(heads, compositions, biases, top),
        tables={
            "Heads": heads,
            "Largest entries of the full circuits": top.table,
            "Composition": compositions,
            "Bias terms": biases,
            "Singular values": spectra,
        },
        figures=figures,
        how_to_read="QK entries say which key token a query token looks for, OV entries which output token is raised "
        "when a token is attended to; both take a token's embedding as the first norm would see it alone, so in later "
        "layers they leave out what earlier layers added. A positive copying score proves little for a matrix far from "
        "normal; the share of tokens that a head raises above all others stands beside it. The composition baseline "
        "supposes that the two heads are turned against one another at random; heads that share any common direction "
        "exceed it, so compare pairs with one another and not only with the baseline.",
        source="Elhage et al. (2021), A Mathematical Framework for Transformer Circuits.",
    )


def _numbers(
    heads: pd.DataFrame, compositions: pd.DataFrame, biases: pd.DataFrame, top: TopTokens
) -> dict[str, float | int | str]:
    numbers: dict[str, float | int | str] = {
        "heads": len(heads),
        "median_effective_rank_qk": float(heads["qk_effective_rank"].median()),
        "median_effective_rank_ov": float(heads["ov_effective_rank"].median()),
        "tokens_in_the_full_circuits": top.n_tokens,
        "largest_share_of_score_variance_from_biases": float(biases["kept_share_of_variance"].max()),
    }
    if "copying_z" in heads:
        best = heads.loc[heads["copying_score"].fillna(-1.0).idxmax()]
        numbers |= {
            "copying_heads": int((heads["copying_z"] > SIGNIFICANT).sum()),
            "best_copying_head": str(best["head"]),
            "best_copying_score": float(best["copying_score"]),
        }
    for mode, pairs in compositions.dropna(subset="score").groupby("mode"):
        best = pairs.loc[pairs["score"].idxmax()]
        numbers[f"strongest_{mode}_composition"] = f"{best['writer']} to {best['reader']}"
        numbers[f"strongest_{mode}_composition_score"] = float(best["score"])
    return numbers


def _about_rank(model: HookedTransformer, heads: pd.DataFrame) -> str:
    possible = min(model.cfg.d_head, model.cfg.d_model)
    return (
        f"Of {possible} possible directions the median head's QK circuit uses "
        f"{heads['qk_effective_rank'].median():.1f} and its OV circuit {heads['ov_effective_rank'].median():.1f} "
        f"(effective rank)."
    )


def _about_copying(heads: pd.DataFrame, top: TopTokens) -> str:
    if "copying_z" not in heads:
        return "Copying is not defined here: the output vocabulary is another than the input's."
    copying = heads[heads["copying_z"] > SIGNIFICANT]
    erasing = int((heads["copying_z"] < -SIGNIFICANT).sum())
    sentence = (
        f"{len(copying)} of {len(heads)} heads have a copying score more than {SIGNIFICANT:.0f} standard deviations "
        f"above that of random heads, and {erasing} as far below; chance alone would give {0.00135 * len(heads):.2f} "
        f"on each side."
    )
    if not len(copying):
        return sentence
    best = copying.loc[copying["copying_score"].idxmax()]
    return sentence + (
        f"\nThe highest is {best['head']} with {best['copying_score']:.2f} (z = {best['copying_z']:.1f}); it raises "
        f"the token itself above all others for {best['own_token_on_top']:.1%} of {top.n_tokens} tokens, and its "
        f"matrix's departure from normality is {best['departure_from_normality']:.2f} (0 would make the eigenvalues "
        f"conclusive)."
    )


def _about_composition(compositions: pd.DataFrame) -> str:
    if not len(compositions):
        return "There is no composition: the model has one layer."
    baseline, sentences = compositions["baseline"].iloc[0], []
    scored = compositions.dropna(subset="score")
    if not len(scored):
        return "There is no composition: every pair of heads has one whose weights are zero."
    for mode, pairs in scored.groupby("mode"):
        best = pairs.loc[pairs["score"].idxmax()]
        above = float((pairs["z"] > SIGNIFICANT).mean())
        sentences.append(
            f"{mode}: {best['writer']} to {best['reader']} at {best['score']:.3f} (z = {best['z']:.0f}; {above:.0%} of "
            f"{len(pairs)} pairs are above {SIGNIFICANT:.0f})"
        )
    return f"Strongest composition, against a baseline of {baseline:.3f}: " + "; ".join(sentences) + "."


def _about_biases(model: HookedTransformer, biases: pd.DataFrame) -> str:
    if model.cfg.positional_embedding_type == "rotary" or model.cfg.attn_scores_soft_cap > 0:
        return (
            "Of the score's bias terms none drops out: rotary positions turn the key bias, or a soft cap bends the "
            "score; the QK circuit shown is that of a token looking at itself or its own position."
        )
    most = biases.loc[biases["kept_share_of_variance"].fillna(0.0).idxmax()]
    return (
        "Of the score's bias terms, x W_Q b_K and b_Q b_K are the same for every key and drop out of softmax; "
        f"b_Q W_K x is kept, and carries at most {most['kept_share_of_variance']:.1%} of a score's variance over keys "
        f"({most['head']}). b_V W_O is written whatever a head looks at."
    )
