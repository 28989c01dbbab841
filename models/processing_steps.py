"""Rewritings of the weights that leave what the model computes as it is: folding, centring, change of basis.

Each step works on a part of a state dict (one block, or what stands outside of the blocks) whose tensors are its own:
it changes them in place, in the dtype they have. Each has a companion `why_not_...`, which says why the step would
not be exact for a model, or None if it is. `models.rewriting` puts parts and steps together.

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
    if config.positional_embedding_type == "shortformer":
        return "shortformer positions are added behind the norms, and its weights do not scale them"
    if config.normalization_type == "ScaleNorm":
        return "ScaleNorm has no form without its weight"
    if config.norm_placement == "post":
        return "post-norm blocks carry the normalised stream on, so its weights belong to the stream"
    if config.gated_mlp and any(
        bool(value.any()) for name, value in state.items() if name.startswith("blocks.") and name.endswith(".ln2.b")
    ):
        return "a gated MLP has no bias on its gate that could take the norm's bias"
    return None


def fold_norms_of_block(config: HookedTransformerConfig, block: State, layer: int, center: bool) -> None:
    """The weights and biases of a block's reading norms moved into the matrices that read from them.

    W <- diag(w) W and b <- b + b_norm W. Where the norm centres, a constant column of what reads is multiplied with
    zero, and `center` takes it away. Norms of what is written (`ln1_post`, `ln2_post`) keep their weights.
    """
    prefix = f"blocks.{layer}"
    if f"{prefix}.ln1.w" in block:
        readers = [(f"{prefix}.attn.{W}", f"{prefix}.attn.{b}") for W, b in _projections(config)]
        _fold(block, f"{prefix}.ln1", readers, center)
    if f"{prefix}.ln2.w" in block:
        gate = [(f"{prefix}.mlp.W_gate", None)] if config.gated_mlp else []
        _fold(block, f"{prefix}.ln2", [(f"{prefix}.mlp.W_in", f"{prefix}.mlp.b_in"), *gate], center)
    if f"{prefix}.mlp.ln.w" in block:
        _fold(block, f"{prefix}.mlp.ln", [(f"{prefix}.mlp.W_out", f"{prefix}.mlp.b_out")], center)


def fold_final_norm(config: HookedTransformerConfig, head: State, center: bool) -> None:
    """The same of the final norm and the unembedding; an RMSNorm does not centre."""
    if "ln_final.w" in head:
        _fold(head, "ln_final", [("unembed.W_U", "unembed.b_U")], center and not config.final_rms)


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


def center_writers(part: State, names: Sequence[str]) -> None:
    """What these matrices and biases write into the stream made mean zero; every LayerNorm took the mean away."""
    for name in names:
        _center(entry(part, name), -1)


def writers_of_block(config: HookedTransformerConfig, layer: int) -> list[str]:
    """The names of what a block writes with."""
    writers = [f"blocks.{layer}.attn.{name}" for name in ("W_O", "b_O")]
    return writers + [f"blocks.{layer}.mlp.{name}" for name in ("W_out", "b_out") if not config.attn_only]


def embeddings(config: HookedTransformerConfig) -> list[str]:
    """The names of what is written into the stream before the first block."""
    return ["embed.W_E", *(["pos_embed.W_pos"] if config.positional_embedding_type == "standard" else [])]


def why_not_center_unembed(config: HookedTransformerConfig) -> str | None:
    """Why a constant added to all logits matters, or None if softmax takes it away."""
    cap = config.output_logits_soft_cap
    return f"the logits are bent by a soft cap of {cap}, which does not commute with a shift" if cap > 0 else None


def center_unembedding(head: State) -> None:
    """W_U and b_U made mean zero over the vocabulary: the logits move by a constant, log-probabilities stay."""
    for name in ("unembed.W_U", "unembed.b_U"):
        _center(entry(head, name), -1)


def fold_value_biases_of_block(config: HookedTransformerConfig, block: State, layer: int) -> None:
    """b_O <- b_O + sum over heads of b_V W_O, and b_V <- 0: exact because the rows of a pattern sum to one.

    It shows only where they do not: at padding, and where a hook edits the pattern.
    """
    attn = f"blocks.{layer}.attn"
    b_V = block.get(f"{attn}.b_V" if config.n_key_value_heads is None else f"{attn}._b_V")
    if b_V is None:
        return
    for_each_head = b_V.repeat_interleave(config.n_heads // config.n_kv_heads, dim=0)
    entry(block, f"{attn}.b_O").add_(torch.einsum("he,hed->d", for_each_head, entry(block, f"{attn}.W_O")))
    b_V.zero_()


def why_not_refactor_factored_attn_matrices(config: HookedTransformerConfig) -> str | None:
    """Why the bases of the heads are not free, or None if they are."""
    if config.positional_embedding_type == "rotary":
        return "rotary positions turn fixed pairs of a head's coordinates"
    if config.n_key_value_heads is not None:
        return "query heads that share keys and values share their basis too"
    return None


def refactor_block(config: HookedTransformerConfig, block: State, layer: int) -> None:
    """Each head in the basis of its singular vectors: W_Q W_K^T and W_V W_O are as before, value biases are folded.

    W_Q = U sqrt(S) and W_K = V sqrt(S), their biases as a further row of each; W_V = U S and W_O = V^T, a rotation.
    """
    fold_value_biases_of_block(config, block, layer)
    attn = f"blocks.{layer}.attn"
    biased = f"{attn}.b_Q" in block
    left, right = (_with_bias_row(block, attn, name, biased) for name in "QK")
    U, S, V = _svd(left, right.transpose(-2, -1))
    for name, factor in (("Q", U * S.sqrt()[:, None]), ("K", V * S.sqrt()[:, None])):
        entry(block, f"{attn}.W_{name}").copy_(factor[:, : config.d_model])
        if biased:
            block[f"{attn}.b_{name}"].copy_(factor[:, config.d_model])
    W_V, W_O = entry(block, f"{attn}.W_V"), entry(block, f"{attn}.W_O")
    U, S, V = _svd(W_V, W_O)
    W_V.copy_(U * S[:, None])
    W_O.copy_(V.transpose(-2, -1))


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


def _fold(part: State, norm: str, readers: Sequence[tuple[str, str | None]], center: bool) -> None:
    weight, bias = part.pop(f"{norm}.w"), part.pop(f"{norm}.b", None)
    for matrix, reader_bias in readers:
        W = entry(part, matrix)
        if bias is not None and reader_bias is not None:
            # The biases that a model without QKV biases does not have begin at zero.
            part[reader_bias] = part.get(reader_bias, 0) + torch.einsum("d,...de->...e", bias, W)
        W.mul_(weight[:, None])
        if center:
            _center(W, -2)


def _center(x: Tensor, dim: int) -> None:
    x.sub_(x.mean(dim, keepdim=True))


def _with_bias_row(state: State, attn: str, name: str, biased: bool) -> Tensor:
    W = entry(state, f"{attn}.W_{name}")
    return torch.cat([W, entry(state, f"{attn}.b_{name}")[:, None]], dim=1) if biased else W


def _svd(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    U, S, V = FactoredMatrix(left, right).svd()
    # A head wider than the model has fewer singular values than coordinates; the others are zero.
    short = left.shape[-1] - S.shape[-1]
    return F.pad(U, (0, short)), F.pad(S, (0, short)), F.pad(V, (0, short))
