"""The copying score of Olsson et al.: does a head raise the logit of the very token that it attends to?"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .head_scores import HeadScores


def direct_path_obstacle(model: Any) -> str | None:
    """Why the way from a head to the logits is not linear here; None if it is, up to the final norm's scale."""
    if getattr(model.cfg, "norm_placement", "pre") == "post":
        return "the blocks norm the stream behind each head"
    if getattr(model.cfg, "use_normalization_before_and_after", False):
        return "the blocks norm what the heads write"
    if model.cfg.d_vocab != model.cfg.d_vocab_out:
        return "the output vocabulary is another than the input's"
    return None


@torch.no_grad()
def copying_on_samples(model: Any, tokens: Int[Tensor, "sequence pos"], start: int) -> HeadScores:
    """The copying score of every head on every sequence of random tokens, none of which comes twice.

    What each attended token adds to the head's output goes straight to the logits, whose mean over the vocabulary is
    taken away; of what is left only raises count. `own` is the raise of the attended token itself and `all` that of
    every token in the sequence, both weighted by the attention and summed over queries and keys. Then
    own / (own + all) lies between 0 (raises others only) and 0.5 (raises itself only), and is scaled to [-1, 1]. The
    null is that of a head which raises every token of the sequence alike. NaN for a head that raises none of them.
    The scale of the final norm, one positive number a query, is left out, as is a soft cap on the logits.

    Source: Olsson et al. (2022), head activation evaluators, copying.

    Args:
        model: with its final norm folded into the unembedding, or without one; see `direct_path_obstacle`.
        start: positions before the random tokens, which are neither attended to nor raised here.
    """
    values = []
    names = [f"blocks.{n}.attn.hook_{kind}" for n in range(model.cfg.n_layers) for kind in ("v", "pattern")]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    W_U = _read_by_the_unembedding(model)
    sample = tokens[:, start:]
    columns = (W_U - W_U.mean(dim=1, keepdim=True))[:, sample].movedim(0, 1)
    for layer in range(model.cfg.n_layers):
        v = cache[f"blocks.{layer}.attn.hook_v"][:, start:].double()
        v = v.repeat_interleave(model.cfg.n_heads // v.shape[2], dim=2)
        attended = cache[f"blocks.{layer}.attn.hook_pattern"].double().sum(dim=2)[..., start:]
        values.append(_scores(v, model.W_O[layer].double(), columns, attended))
    n = sample.shape[1]
    null = torch.full((len(tokens), model.cfg.n_layers), _scaled(1.0, float(n)), dtype=torch.float64)
    return HeadScores(torch.stack(values, dim=1), null.to(tokens.device))


def _read_by_the_unembedding(model: Any) -> Float[Tensor, "d_model d_vocab"]:
    # A final LayerNorm takes away the mean of what each head wrote, whatever its weights were folded into.
    W_U, cfg = model.W_U.double(), model.cfg
    centres = cfg.normalization_type in ("LN", "LNPre") and not getattr(cfg, "final_rms", False)
    has_norm = getattr(cfg, "final_norm", None) is not False
    return W_U - W_U.mean(dim=0, keepdim=True) if centres and has_norm else W_U


def _scores(
    v: Float[Tensor, "sequence key head d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    columns: Float[Tensor, "sequence d_model key"],
    attended: Float[Tensor, "sequence head key"],
) -> Float[Tensor, "sequence head"]:
    written = torch.einsum("skhe,hed->shkd", v, W_O)
    raises = (written @ columns[:, None]).relu()
    own = (attended * raises.diagonal(dim1=-2, dim2=-1)).sum(dim=-1)
    every = (attended * raises.sum(dim=-1)).sum(dim=-1)
    return _scaled(own, every)


def _scaled(own: Any, every: Any) -> Any:
    return 4 * own / (own + every) - 1
