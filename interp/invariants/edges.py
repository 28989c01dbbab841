"""Edges, from what one component writes to what one later component reads: their sum is the node, all of them the run.

Sources: Syed et al. (2023), edge attribution patching; Goldowsky-Dill et al. (2023), path patching.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..hooks import Edit, edited
from .definitions import normed
from .invariant import Invariant
from .linearised import gradients_at
from .reading import (
    activations,
    deviation,
    head_weights,
    other_tokens,
    post_norm,
    sixteen_bit,
    with_read_positions,
    worst,
)
from .stream import embeddings, writers

_SWITCHES = ("use_attn_in", "use_split_qkv_input", "use_hook_mlp_in")
_INPUTS = ("hook_q_input", "hook_k_input", "hook_v_input", "hook_mlp_in")


@contextmanager
def separate_inputs(model: Any) -> Iterator[None]:
    """Within the block, queries, keys, values and MLPs each have an input of their own; then as it was."""
    was = {name: getattr(model.cfg, name) for name in _SWITCHES}
    wanted = {
        "use_attn_in": False,
        "use_split_qkv_input": True,
        "use_hook_mlp_in": "blocks.0.hook_mlp_in" in model.hook_dict,
    }
    try:
        _switch(model, wanted)
        yield
    finally:
        # What excludes the others is switched off first and on last.
        _switch(model, {"use_split_qkv_input": was["use_split_qkv_input"], "use_hook_mlp_in": was["use_hook_mlp_in"]})
        _switch(model, {"use_attn_in": was["use_attn_in"]})


def _switch(model: Any, wanted: Mapping[str, bool]) -> None:
    for name, value in wanted.items():
        if getattr(model.cfg, name) != value:
            getattr(model, f"set_{name}")(value)


def readers(model: Any, layer: int) -> list[str]:
    """The points at which a block's readers see the stream."""
    return [name for point in _INPUTS if (name := f"blocks.{layer}.{point}") in model.hook_dict]


def _graph(model: Any) -> list[tuple[str, list[str]]]:
    """Each writer with the readers behind it, in the order of the forward pass; the logits read the last stream."""
    last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    layers = range(model.cfg.n_layers)
    sequential = "blocks.0.hook_resid_mid" in model.hook_dict
    behind = {layer: [name for later in layers[layer:] for name in readers(model, later)] for layer in layers}
    behind[model.cfg.n_layers] = []
    graph = [(name, [*behind[0], last]) for name in embeddings(model)]
    for layer in layers:
        for name in writers(model, layer):
            own = [f"blocks.{layer}.hook_mlp_in"] if name.endswith("attn_out") and sequential else []
            graph.append((name, [*own, *behind[layer + 1], last]))
    return graph


def edges_off_their_node(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of a writer's attribution from the sum of its edges', for every writer."""
    graph = _graph(model)
    places = list(dict.fromkeys(name for writer, read in graph for name in (writer, *read)))
    with separate_inputs(model):
        with torch.no_grad():
            names = [writer for writer, _ in graph]
            clean, corrupted = (activations(model, given, names) for given in (tokens, other_tokens(model, tokens)))
        of = gradients_at(model, tokens, {}, places)
    nodes, sums = [], []
    for writer, read in graph:
        change = (corrupted[writer][0] - clean[writer][0]).double()
        nodes.append((change * of[writer].double()).sum())
        sums.append(sum((change * _over_heads(of[reader]).double()).sum() for reader in read))
    return deviation(torch.stack(sums), torch.stack(nodes))  # type: ignore[arg-type]


def _over_heads(gradient: Tensor) -> Float[Tensor, "batch pos d_model"]:
    return gradient.sum(dim=2) if gradient.ndim == 4 else gradient


def all_edges_off_the_other_run(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation from another run's logits when every edge, or every one into the logits, carries that run."""
    graph, other = _graph(model), other_tokens(model, tokens)
    names = [writer for writer, _ in graph]
    last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    clean, corrupted = (activations(model, given, names) for given in (tokens, other))
    change = {name: corrupted[name][0] - clean[name][0] for name in names}
    arriving: dict[str, Tensor] = {}
    for writer, read in graph:
        for reader in read:
            arriving[reader] = arriving.get(reader, 0) + change[writer]
    expected, plain = model(other), model(tokens)
    with separate_inputs(model):
        streams = activations(model, tokens, list(arriving))
        everything = {name: _moved(streams[name][0], delta) for name, delta in arriving.items()}
        nothing = {name: _moved(streams[name][0], 0 * delta) for name, delta in arriving.items()}
        runs = []
        for edits in (everything, {last: everything[last]}, nothing):
            with edited(model, edits, allow_nonfinite=True):
                runs.append(model(tokens))
    return worst(deviation(run, want) for run, want in zip(runs, (expected, expected, plain), strict=True))


def _moved(clean: Tensor, delta: Tensor) -> Edit:
    # Its input is the clean stream plus what the edges carry, whatever earlier edits made of it in between.
    value = clean + (delta[:, :, None] if clean.ndim == 4 else delta)
    return lambda activation: value


def query_edge_off_its_recomputation(model: Any, tokens: Int[Tensor, "batch pos"]) -> float:
    """The deviation of an edge from the embeddings into one head's query from the query worked out by hand."""
    layer, head = model.cfg.n_layers - 1, model.cfg.n_heads - 1
    other, names = other_tokens(model, tokens), embeddings(model)
    clean, corrupted = (activations(model, given, names) for given in (tokens, other))
    delta = sum(corrupted[name][0] - clean[name][0] for name in names)
    read, query = f"blocks.{layer}.hook_q_input", f"blocks.{layer}.attn.hook_q"
    with separate_inputs(model):
        stream = activations(model, tokens, [read])[read][0][:, :, head]
        with edited(model, {read: lambda x: _with_head(x, head, x[:, :, head] + delta)}, allow_nonfinite=True):
            through_the_edge = model(tokens)
    x = (stream + delta).double()
    name = f"blocks.{layer}.ln1"
    x = normed(model, name, x) if f"{name}.hook_scale" in model.hook_dict else x
    x = with_read_positions(model, x)
    q = x @ head_weights(model, layer, "W_Q")[head] + head_weights(model, layer, "b_Q")[head]
    with edited(model, {query: lambda value: _with_head(value, head, q.to(value))}, allow_nonfinite=True):
        by_hand = model(tokens)
    return deviation(through_the_edge, by_hand)


def _with_head(activation: Tensor, head: int, value: Tensor) -> Tensor:
    activation[:, :, head] = value
    return activation


def no_edges(model: Any) -> str | None:
    """The obstacle of a stream that is no sum, or of readers that share one input."""
    if post_norm(model):
        return "post-norm readers see a normed stream, not a sum"
    if not hasattr(model.hook_dict.get("blocks.0.hook_q_input"), "switch"):
        return "the model does not say whether its readers can have inputs of their own"
    return sixteen_bit(model)


INVARIANTS = (
    Invariant(
        "edge-sum", "the attributions of a writer's edges sum to the writer's own", edges_off_their_node,
        obstacle=no_edges,
    ),
    Invariant(
        "all-edges", "patching all edges, or all into the logits, gives the other run; patching none changes nothing",
        all_edges_off_the_other_run, obstacle=no_edges,
    ),
    Invariant(
        "query-edge", "an edge into one head's query does what the recomputed query does",
        query_edge_off_its_recomputation, obstacle=no_edges,
    ),
)  # fmt: skip
