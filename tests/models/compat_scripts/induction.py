"""Repeated random tokens: which heads attend to what, what they write, and how they compose."""

import functools

import einops
import torch
import torch.nn.functional as F

from models.compat import FactoredMatrix, HookedTransformer, utils
from models.compat.hook_points import HookPoint

LENGTH = 12
BATCH = 3


def repeated_tokens(model: HookedTransformer, batch=BATCH):
    half = torch.randint(1, model.cfg.d_vocab, (batch, LENGTH), generator=torch.Generator().manual_seed(0))
    first = torch.full((batch, 1), model.tokenizer.bos_token_id)
    return torch.cat([first, half, half], dim=-1).to(model.cfg.device)


def run(model: HookedTransformer) -> dict:
    torch.set_grad_enabled(False)
    model.set_use_attn_result(True)
    tokens = repeated_tokens(model)
    logits = model(tokens)
    found = {
        "log probabilities": F.log_softmax(logits, dim=-1)[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0],
        "losses": model(tokens, return_type="loss", loss_per_token=True),
        "induction scores": induction_scores(model, tokens),
        "ablations": ablations(model, tokens),
    }
    found |= by_pattern(model)
    found |= attributed(model, tokens, logits)
    found |= circuits(model)
    found["without a head before"] = without_a_head_before(model, tokens)
    model.set_use_attn_result(False)
    return found


def by_pattern(model: HookedTransformer) -> dict:
    """Attention to the current, the previous and the first token, from the cache of one prompt."""
    text = "def run(self, value):\n    return self.run(value)\n"
    _, cache = model.run_with_cache(text, remove_batch_dim=True)
    patterns = torch.stack([cache["pattern", layer] for layer in range(model.cfg.n_layers)])
    assert torch.equal(cache["pattern", 0], cache["blocks.0.attn.hook_pattern"])
    return {
        "current token": patterns.diagonal(dim1=-2, dim2=-1).mean(-1),
        "previous token": patterns.diagonal(-1, -2, -1).mean(-1),
        "first token": patterns[..., 0].mean(-1),
        "tokens": model.to_str_tokens(text),
    }


def induction_scores(model: HookedTransformer, tokens):
    """What each head pays to the token after the last occurrence of the current one, from hooks."""
    scores = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, device=model.cfg.device, dtype=model.cfg.dtype)

    def keep(pattern, hook: HookPoint):
        stripe = pattern.diagonal(dim1=-2, dim2=-1, offset=1 - LENGTH)
        scores[hook.layer(), :] = einops.reduce(stripe, "batch head position -> head", "mean")

    model.run_with_hooks(tokens, return_type=None, fwd_hooks=[(lambda name: name.endswith("pattern"), keep)])
    return scores


def ablations(model: HookedTransformer, tokens):
    """The rise of the loss when a head's values, or what it makes of them, are zero."""
    model.reset_hooks()
    base = utils.lm_cross_entropy_loss(model(tokens), tokens)
    rises = torch.zeros(2, model.cfg.n_layers, model.cfg.n_heads, device=model.cfg.device, dtype=model.cfg.dtype)

    def zero(activation, hook, head):
        activation[:, :, head] = 0.0
        return activation

    for row, what in enumerate(["v", "z"]):
        for layer in range(model.cfg.n_layers):
            for head in range(model.cfg.n_heads):
                hooks = [(utils.get_act_name(what, layer), functools.partial(zero, head=head))]
                with model.hooks(fwd_hooks=hooks):
                    rises[row, layer, head] = model(tokens, return_type="loss") - base
    return rises


def attributed(model: HookedTransformer, tokens, logits) -> dict:
    """The logit of each next token, split over the embedding and the heads of both layers."""
    _, cache = model.run_with_cache(tokens[:1])
    cache = cache.remove_batch_dim()
    scale = cache["scale"]
    toward = model.W_U[:, tokens[0, 1:]]
    parts = [cache["embed"][:, None], *(cache["result", layer] for layer in range(model.cfg.n_layers))]
    shares = [(part - part.mean(-1, keepdim=True))[:-1] / scale[:-1, None] for part in parts]
    summed = torch.cat([einops.einsum(share, toward, "pos part d, d pos -> pos part") for share in shares], dim=1)
    return {"attributions": summed, "next logits": logits[0, :-1].gather(-1, tokens[0, 1:, None])[:, 0]}


def circuits(model: HookedTransformer) -> dict:
    """Copying by the OV circuit, matching by K-composition, and all composition scores."""
    copying = model.W_E @ FactoredMatrix(model.W_V[1, 2], model.W_O[1, 2]) @ model.W_U
    rows = torch.arange(0, model.cfg.d_vocab, 7)
    written = model.W_E @ model.W_V[0, 1] @ model.W_O[0, 1]
    matching = FactoredMatrix(model.W_E @ model.W_Q[1, 2], (written @ model.W_K[1, 2]).T)
    ov, qk = FactoredMatrix(model.W_V, model.W_O), FactoredMatrix(model.W_Q, model.W_K.transpose(-1, -2))
    before = FactoredMatrix(ov.A[0][:, None], ov.B[0][:, None])
    after = FactoredMatrix(qk.T.A[1][None], qk.T.B[1][None])
    return {
        "copying": copying[rows, rows].AB.diagonal(),
        "copied best": (copying.AB.argmax(dim=1) == torch.arange(model.cfg.d_vocab, device=model.cfg.device)).sum(),
        "eigenvalues": (FactoredMatrix(model.W_O[1, 2], model.W_V[1, 2])).eigenvalues.abs().sort().values,
        "matching": matching.AB[:9, :9],
        "matching norm": matching.norm(),
        "singular values": model.OV[1, 2].S,
        "Q": model.all_composition_scores("Q"),
        "K": model.all_composition_scores("K"),
        "V": model.all_composition_scores("V"),
        "K by hand": (before @ after).norm() / (before.norm() * after.norm()),
        "heads": model.all_head_labels(),
    }


def without_a_head_before(model: HookedTransformer, tokens):
    """The induction score of the second layer's heads when each head of the first is silent, kept in `hook.ctx`."""
    scores = []
    for silent in range(model.cfg.n_heads):

        def silence(v, hook, head=silent):
            v[:, :, head] = 0.0
            return v

        def keep(pattern, hook: HookPoint):
            hook.ctx["score"] = pattern.diagonal(1 - LENGTH, -2, -1).mean((0, 2))

        names = [utils.get_act_name("v", 0), utils.get_act_name("pattern", 1)]
        model.run_with_hooks(tokens, fwd_hooks=[(names[0], silence), (names[1], keep)])
        scores.append(model.blocks[1].attn.hook_pattern.ctx["score"])
        model.blocks[1].attn.hook_pattern.clear_context()
    return torch.stack(scores)
