"""The tables of the circuits analysis, from a model whose norms are folded."""

from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.low_rank import effective_rank, product_singular_values, top_entries
from interp.weights import CopyingScores, bias_terms, composition_scores
from models import HookedTransformer

from .labels import token_labels


class TopTokens(NamedTuple):
    """The largest entries of the full circuits.

    Attributes:
        table: head, circuit, from, to and value.
        own_on_top: the share of tokens for which a head's OV circuit raises the token itself most.
        n_tokens: how many tokens the circuits ran over.
    """

    table: pd.DataFrame
    own_on_top: Float[Tensor, " head"]
    n_tokens: int


def spectrum_table(model: HookedTransformer) -> pd.DataFrame:
    """The singular values of W_Q W_K^T and W_V W_O of every head."""
    frames = []
    for circuit, left, right in (("QK", model.W_Q, model.W_K.mT), ("OV", model.W_V, model.W_O)):
        values = product_singular_values(left, right).flatten(0, 1)
        n_heads, rank = values.shape
        frames.append(
            pd.DataFrame(
                {
                    "circuit": circuit,
                    "head": [label for label in model.all_head_labels() for _ in range(rank)],
                    "number": list(range(1, rank + 1)) * n_heads,
                    "singular_value": values.flatten().numpy(force=True),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def head_table(
    model: HookedTransformer, copying: CopyingScores | None, own_on_top: Float[Tensor, " head"]
) -> pd.DataFrame:
    """One row a head: size and rank of its circuits, and how far it copies (missing without an output vocabulary)."""
    table = pd.DataFrame({"head": model.all_head_labels()})
    for circuit, left, right in (("qk", model.W_Q, model.W_K.mT), ("ov", model.W_V, model.W_O)):
        values = product_singular_values(left, right).flatten(0, 1)
        table[f"{circuit}_norm"] = values.norm(dim=-1).numpy(force=True)
        table[f"{circuit}_effective_rank"] = effective_rank(values).numpy(force=True)
    if copying is not None:
        table["copying_score"] = copying.score.numpy(force=True)
        table["copying_z"] = copying.z.numpy(force=True)
        table["departure_from_normality"] = copying.departure_from_normality.numpy(force=True)
        table["own_token_on_top"] = own_on_top.numpy(force=True)
    return table


def composition_table(model: HookedTransformer) -> pd.DataFrame:
    """Q-, K- and V-composition of every head with every head of a later layer."""
    W_Q, W_K, W_V, W_O = model.W_Q, model.W_K, model.W_V, model.W_O
    readers = {"Q": (W_Q, W_K.mT), "K": (W_K, W_Q.mT), "V": (W_V, W_O)}
    columns = ["mode", "writer", "reader", "score", "baseline", "excess", "baseline_std", "z"]
    rows = []
    for mode, (left, right) in readers.items():
        for layer in range(model.cfg.n_layers):
            for later in range(layer + 1, model.cfg.n_layers):
                scores = composition_scores(W_V[layer], W_O[layer], left[later], right[later])
                for writer, reader in torch.cartesian_prod(*[torch.arange(model.cfg.n_heads)] * 2).tolist():
                    numbers = (scores.score, scores.excess, scores.baseline_std, scores.z)
                    score, excess, std, z = (float(value[writer, reader]) for value in numbers)
                    names = (mode, f"L{layer}H{writer}", f"L{later}H{reader}")
                    rows.append((*names, score, scores.baseline, excess, std, z))
    return pd.DataFrame(rows, columns=columns)


def top_tokens(model: HookedTransformer, k: int, at_most: int) -> TopTokens:
    """The pairs of tokens with the largest entries in each head's full circuits.

    A token stands for its embedding as the first norm would see it alone. QK entries are scores after the division by
    the scale, from query to key; OV entries are logits, from the token that is attended to, to the token it raises.
    """
    config = model.cfg
    stride = -(-config.d_vocab // at_most)
    ids = torch.arange(0, config.d_vocab, stride, device=model.W_E.device)
    stream = _alone(model, ids)
    k = min(k, len(ids))
    square = config.d_vocab == config.d_vocab_out
    rows, own = [], []
    for layer in range(config.n_layers):
        block: Any = model.blocks[layer]
        for head in range(config.n_heads):
            label = f"L{layer}H{head}"
            queries, keys = stream @ block.attn.W_Q[head] / block.attn.attn_scale, stream @ block.attn.W_K[head]
            found = top_entries(queries, keys.T, k)
            rows += [
                (label, "QK", *entry) for entry in _named(model, ids[found.rows], ids[found.columns], found.values)
            ]
            values, raised = stream @ block.attn.W_V[head], block.attn.W_O[head] @ model.W_U
            found = top_entries(values, raised, k)
            rows += [(label, "OV", *entry) for entry in _named(model, ids[found.rows], found.columns, found.values)]
            own.append((found.top_of_row == ids).double().mean() if square else torch.tensor(torch.nan))
    columns = ["head", "circuit", "from_token", "to_token", "value"]
    return TopTokens(pd.DataFrame(rows, columns=columns), torch.stack(own), len(ids))


def bias_table(model: HookedTransformer, tokens: Int[Tensor, "batch pos"]) -> pd.DataFrame:
    """How much each bias term of the score moves on these tokens, beside the term without a bias.

    Standard deviations are over keys (over queries for the dropped term), in units of the score.
    """
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.cfg.n_layers)]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    positions = model.context_of(tokens).added
    frames = []
    for layer in range(model.cfg.n_layers):
        block: Any = model.blocks[layer]
        attn = block.attn
        terms = bias_terms(attn.W_Q, attn.W_K, attn.W_O, attn.b_Q, attn.b_K, attn.b_V)
        x = block.read(block.ln1, cache[names[layer]])
        x = x if positions is None else x + positions
        queries = torch.einsum("bpd,hde->bhpe", x, attn.W_Q)
        keys = torch.einsum("bpd,hde->bhpe", x, attn.W_K)
        content = (queries @ keys.mT / attn.attn_scale).double().var(dim=-1, correction=0).mean(dim=(0, 2)).sqrt()
        kept, dropped = (
            (torch.einsum("bpd,hd->bhp", x, term) / attn.attn_scale)
            .double()
            .var(dim=-1, correction=0)
            .mean(dim=0)
            .sqrt()
            for term in (terms.key_preference, terms.dropped)
        )
        frames.append(
            pd.DataFrame(
                {
                    "head": [f"L{layer}H{head}" for head in range(model.cfg.n_heads)],
                    "score_std_without_biases": content.numpy(force=True),
                    "kept_by_softmax_std": kept.numpy(force=True),
                    "dropped_by_softmax_std": dropped.numpy(force=True),
                    "kept_share_of_variance": (kept**2 / (kept**2 + content**2)).numpy(force=True),
                    "written_by_value_bias_norm": terms.written.double().norm(dim=-1).numpy(force=True),
                    "layer_output_bias_norm": float(attn.b_O.double().norm()),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _alone(model: HookedTransformer, ids: Int[Tensor, " token"]) -> Float[Tensor, "token d_model"]:
    block: Any = model.blocks[0]
    return block.read(block.ln1, model.W_E[ids][None])[0]


def _named(model: HookedTransformer, sources: Tensor, targets: Tensor, values: Tensor) -> list[tuple[str, str, float]]:
    return list(zip(token_labels(model, sources), token_labels(model, targets), values.tolist(), strict=True))
