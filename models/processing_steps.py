"""Rewritings of the weights that leave what the model computes as it is: folding, centring, change of basis.

Each step takes a state dict and returns another; nothing is changed in place, and all is done in the dtype given.
Each has a companion `why_not_...`, which says why the step would not be exact for a model, or None if it is.

Sources: Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits", on the bases of keys and values;
TransformerLens' `further_comments.md` on folding and centring.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformer_lens import FactoredMatrix

from .config import HookedTransformerConfig
from .errors import CheckpointError

State = dict[str, Tensor]


def why_not_fold_layer_norm(config: HookedTransformerConfig, state: State) -> str | None:
    """Why the norms' weights cannot move into what reads from them, or None if they can (or have done so already)."""
    if config.normalization_type is None:
        return "the model has no norms"
    if config.normalization_type == "ScaleNorm":
        return "ScaleNorm has no form without its weight"
    if config.norm_placement == "post":
        return "post-norm blocks carry the normalised stream on, so its weights belong to the stream"
    if config.gated_mlp and any(
        bool(value.any()) for name, value in state.items() if name.startswith("blocks.") and name.endswith(".ln2.b")
    ):
        return "a gated MLP has no bias on its gate that could take the norm's bias"
    return None


def folded_layer_norm(config: HookedTransformerConfig, state: State, center_weights: bool = True) -> State:
    """Every reading norm's weight and bias moved into the matrices that read from it; the norms are then `Pre`.

    W <- diag(w) W and b <- b + b_norm W. Where the norm centres, a constant column of what reads is multiplied with
    zero, and `center_weights` takes it away. Norms of what is written (`ln1_post`, `ln2_post`) keep their weights.
    """
    state = untied(config, state) if "ln_final.w" in state else dict(state)
    for layer in range(config.n_layers):
        block = f"blocks.{layer}"
        if f"{block}.ln1.w" in state:
            readers = [(f"{block}.attn.{W}", f"{block}.attn.{b}") for W, b in _projections(config)]
            _fold(state, f"{block}.ln1", readers, center_weights)
        if f"{block}.ln2.w" in state:
            gate = [(f"{block}.mlp.W_gate", None)] if config.gated_mlp else []
            _fold(state, f"{block}.ln2", [(f"{block}.mlp.W_in", f"{block}.mlp.b_in"), *gate], center_weights)
        if f"{block}.mlp.ln.w" in state:
            _fold(state, f"{block}.mlp.ln", [(f"{block}.mlp.W_out", f"{block}.mlp.b_out")], center_weights)
    if "ln_final.w" in state:
        _fold(state, "ln_final", [("unembed.W_U", "unembed.b_U")], center_weights and not config.final_rms)
    return state


def why_not_center_writing_weights(config: HookedTransformerConfig) -> str | None:
    """Why the mean of what is written into the stream matters, or None if no reader sees it."""
    if config.normalization_type not in ("LN", "LNPre"):
        return f"only LayerNorm takes the mean away, and normalization_type is {config.normalization_type!r}"
    if config.norm_placement == "post":
        return "in post-norm blocks the first layer reads the stream unnormalised"
    if config.use_normalization_before_and_after:
        return "the norms behind the layers, not the weights, decide the mean of what is written"
    if not config.final_norm or config.final_rms:
        return "the unembedding reads the stream without a LayerNorm"
    return None


def centered_writing_weights(config: HookedTransformerConfig, state: State) -> State:
    """Everything that is written into the stream made mean zero over `d_model`; every LayerNorm took the mean away."""
    state = untied(config, state)
    writers = ["embed.W_E", *(["pos_embed.W_pos"] if config.positional_embedding_type == "standard" else [])]
    for layer in range(config.n_layers):
        writers += [f"blocks.{layer}.attn.{name}" for name in ("W_O", "b_O")]
        writers += [f"blocks.{layer}.mlp.{name}" for name in ("W_out", "b_out") if not config.attn_only]
    for name in writers:
        state[name] = _centered(entry(state, name), -1)
    return state


def why_not_center_unembed(config: HookedTransformerConfig) -> str | None:
    """Why a constant added to all logits matters, or None if softmax takes it away."""
    cap = config.output_logits_soft_cap
    return f"the logits are bent by a soft cap of {cap}, which does not commute with a shift" if cap > 0 else None


def centered_unembed(config: HookedTransformerConfig, state: State) -> State:
    """W_U and b_U made mean zero over the vocabulary: the logits move by a constant, log-probabilities stay."""
    state = untied(config, state)
    for name in ("unembed.W_U", "unembed.b_U"):
        state[name] = _centered(entry(state, name), -1)
    return state


def folded_value_biases(config: HookedTransformerConfig, state: State) -> State:
    """b_O <- b_O + sum over heads of b_V W_O, and b_V <- 0: exact because the rows of a pattern sum to one.

    It shows only where they do not: at padding, and where a hook edits the pattern.
    """
    state = dict(state)
    name = "b_V" if config.n_key_value_heads is None else "_b_V"
    for layer in range(config.n_layers):
        attn = f"blocks.{layer}.attn"
        if f"{attn}.{name}" not in state:
            continue
        b_V = state[f"{attn}.{name}"]
        for_each_head = b_V.repeat_interleave(config.n_heads // config.n_kv_heads, dim=0)
        write = torch.einsum("he,hed->d", for_each_head, entry(state, f"{attn}.W_O"))
        state[f"{attn}.b_O"] = entry(state, f"{attn}.b_O") + write
        state[f"{attn}.{name}"] = torch.zeros_like(b_V)
    return state


def why_not_refactor_factored_attn_matrices(config: HookedTransformerConfig) -> str | None:
    """Why the bases of the heads are not free, or None if they are."""
    if config.positional_embedding_type == "rotary":
        return "rotary positions turn fixed pairs of a head's coordinates"
    if config.n_key_value_heads is not None:
        return "query heads that share keys and values share their basis too"
    return None


def refactored_attn_matrices(config: HookedTransformerConfig, state: State) -> State:
    """Each head in the basis of its singular vectors: W_Q W_K^T and W_V W_O are as before.

    W_Q = U sqrt(S) and W_K = V sqrt(S), their biases as a further row of each; W_V = U S and W_O = V^T, a rotation.
    """
    state = folded_value_biases(config, state)
    for layer in range(config.n_layers):
        attn = f"blocks.{layer}.attn"
        biased = f"{attn}.b_Q" in state
        left, right = (_with_bias_row(state, attn, name, biased) for name in "QK")
        U, S, V = _svd(left, right.transpose(-2, -1))
        for name, factor in (("Q", U * S.sqrt()[:, None]), ("K", V * S.sqrt()[:, None])):
            state[f"{attn}.W_{name}"] = factor[:, : config.d_model]
            if biased:
                state[f"{attn}.b_{name}"] = factor[:, config.d_model]
        U, S, V = _svd(entry(state, f"{attn}.W_V"), entry(state, f"{attn}.W_O"))
        state[f"{attn}.W_V"], state[f"{attn}.W_O"] = U * S[:, None], V.transpose(-2, -1)
    return state


def untied(config: HookedTransformerConfig, state: State) -> State:
    """The state dict, the unembedding an entry of its own where the model ties it to the embedding."""
    if not config.tie_word_embeddings or "unembed.W_U" in state:
        return dict(state)
    return {**state, "unembed.W_U": entry(state, "embed.W_E").T.clone()}


def entry(state: State, name: str) -> Tensor:
    """The entry of this name.

    Raises:
        CheckpointError: there is none.
    """
    if name not in state:
        raise CheckpointError(f"the state dict has no {name}, which this model's weights need")
    return state[name]


def _projections(config: HookedTransformerConfig) -> list[tuple[str, str]]:
    shared = "" if config.n_key_value_heads is None else "_"
    return [("W_Q", "b_Q"), (f"{shared}W_K", f"{shared}b_K"), (f"{shared}W_V", f"{shared}b_V")]


def _fold(state: State, norm: str, readers: Sequence[tuple[str, str | None]], center: bool) -> None:
    weight, bias = state.pop(f"{norm}.w"), state.pop(f"{norm}.b", None)
    for matrix, reader_bias in readers:
        W = entry(state, matrix)
        if bias is not None and reader_bias is not None:
            # The biases that a model without QKV biases does not have begin at zero.
            state[reader_bias] = state.get(reader_bias, 0) + torch.einsum("d,...de->...e", bias, W)
        W = weight[:, None] * W
        state[matrix] = _centered(W, -2) if center else W


def _centered(x: Tensor, dim: int) -> Tensor:
    return x - x.mean(dim, keepdim=True)


def _with_bias_row(state: State, attn: str, name: str, biased: bool) -> Tensor:
    W = entry(state, f"{attn}.W_{name}")
    return torch.cat([W, entry(state, f"{attn}.b_{name}")[:, None]], dim=1) if biased else W


def _svd(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    U, S, V = FactoredMatrix(left, right).svd()
    # A head wider than the model has fewer singular values than coordinates; the others are zero.
    short = left.shape[-1] - S.shape[-1]
    return F.pad(U, (0, short)), F.pad(S, (0, short)), F.pad(V, (0, short))
