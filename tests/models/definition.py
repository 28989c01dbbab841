"""The transformer by its definition: loops over layers, positions and heads, with no class of ours."""

import math

import numpy as np
import torch

_erf = np.vectorize(math.erf)


def logits_by_loops(model, tokens):
    """The logits of one row of tokens, one position and one head at a time."""
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    stream, added = [weights["embed.W_E"][token] for token in tokens], weights["pos_embed.W_pos"]
    if model.cfg.positional_embedding_type == "standard":
        # Otherwise shortformer's: queries and keys read them, and the stream does not hold them.
        stream, added = [x + added[t] for t, x in enumerate(stream)], np.zeros_like(added)
    for layer in range(model.cfg.n_layers):
        prefix = f"blocks.{layer}."
        part = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        read = [_layer_norm(x, part, "ln1", model.cfg.eps) for x in stream]
        stream = [x + _attention(read[: t + 1], part, added) for t, x in enumerate(stream)]
        if not model.cfg.attn_only:
            stream = [x + _mlp(_layer_norm(x, part, "ln2", model.cfg.eps), part) for x in stream]
    if model.cfg.final_norm:
        stream = [_layer_norm(x, weights, "ln_final", model.cfg.eps) for x in stream]
    W_U = weights["embed.W_E"].T if model.cfg.tie_word_embeddings else weights["unembed.W_U"]
    return torch.tensor(np.array([x @ W_U + weights["unembed.b_U"] for x in stream]))


def _layer_norm(x, weights, name, eps):
    centred = x - sum(x) / len(x)
    return centred / np.sqrt(sum(centred**2) / len(x) + eps) * weights[f"{name}.w"] + weights[f"{name}.b"]


def _attention(read, part, added):
    """What the last of the positions read writes. Source: Vaswani et al. (2017), sections 3.2.1 and 3.2.2.

    `added` is what queries and keys read beside it at each position.
    """
    heads = []
    for head in range(len(part["attn.W_Q"])):

        def projected(x, name, head=head):
            bias = part.get(f"attn.b_{name}")
            return x @ part[f"attn.W_{name}"][head] + (0 if bias is None else bias[head])

        query = projected(read[-1] + added[len(read) - 1], "Q")
        weights = [np.exp(query @ projected(x + added[t], "K") / np.sqrt(len(query))) for t, x in enumerate(read)]
        values = [projected(x, "V") for x in read]
        heads.append(sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights))
    return np.concatenate(heads) @ np.concatenate(part["attn.W_O"]) + part["attn.b_O"]


def _mlp(x, part):
    hidden = x @ part["mlp.W_in"] + part["mlp.b_in"]
    return hidden * 0.5 * (1 + _erf(hidden / np.sqrt(2))) @ part["mlp.W_out"] + part["mlp.b_out"]
