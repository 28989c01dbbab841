"""A classifier that reads both ways and ignores padding: permanent hooks on single points, and what breaks it."""

import einops
import torch

from models.compat import HookedTransformer, utils
from models.compat.hook_points import HookPoint

PAD, TEXTS = 1, ["( ( ) )", "( )", ") ( ( )", "( ( ) ( ) )"]


def mask_padding(model: HookedTransformer) -> HookedTransformer:
    """The model that looks away from padding, by hooks that survive `reset_hooks`."""

    def note(tokens, hook: HookPoint):
        hook.ctx["padding"] = tokens == PAD

    def look_away(scores, hook: HookPoint):
        padding = model.hook_dict["hook_tokens"].ctx["padding"]
        scores.masked_fill_(einops.repeat(padding, "batch key -> batch 1 1 key"), -1e5)
        if hook.layer() == model.cfg.n_layers - 1:
            model.hook_dict["hook_tokens"].ctx.pop("padding")
        return scores

    model.reset_hooks(including_permanent=True)
    model.hook_dict["hook_tokens"].add_hook(note, is_permanent=True)
    for name, point in model.hook_dict.items():
        if name.endswith("attn_scores"):
            point.add_hook(look_away, is_permanent=True)
    return model


def run(model: HookedTransformer) -> dict:
    torch.set_grad_enabled(False)
    rows = [[2, *(4 if mark == ")" else 3 for mark in text.split()), 0] for text in TEXTS]
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], device=model.cfg.device)
    alone = torch.stack([model(torch.tensor([row], device=model.cfg.device))[0, 0] for row in rows])
    mask_padding(model)
    logits, cache = model.run_with_cache(tokens)
    difference = logits[:, 0, 0] - logits[:, 0, 1]
    direction = model.W_U[:, 0] - model.W_U[:, 1]
    parts = cache.decompose_resid(-1, pos_slice=0)
    heads = torch.stack([cache["result", layer][:, 0] for layer in range(model.cfg.n_layers)])
    model.reset_hooks()
    found = {
        "alone": alone,
        "together": logits[:, 0],
        "differences": difference,
        "by part": parts @ direction,
        "by head": einops.einsum(heads, direction, "layer batch head d, d -> layer head batch"),
        "patterns": cache.stack_activation("pattern"),
        "after a reset": model(tokens)[:, 0],
        "neurons": neurons(model, cache, direction),
        "fit": fit(cache),
    }
    model.reset_hooks(including_permanent=True)
    found["with padding seen"] = model(tokens)[:, 0]
    return found


def neurons(model: HookedTransformer, cache, direction):
    """What each neuron of the last layer adds at the first position."""
    last = model.cfg.n_layers - 1
    return cache[utils.get_act_name("post", last)][:, 0] * (model.W_out[last] @ direction)


def fit(cache):
    """The linear map nearest to the second block's norm."""
    before, after = cache["resid_mid", 1].flatten(0, 1), cache["normalized", 1, "ln2"].flatten(0, 1)
    return torch.linalg.lstsq(before, after).solution[:3, :3]
