"""Who got it? Direct logit attribution, activation patching and path patching, as notebooks on IOI do them."""

from functools import partial
from itertools import product

import einops
import torch

from models.compat import ActivationCache, HookedTransformer, patching, utils
from models.compat.hook_points import HookPoint

PAIRS = [("mary", "john"), ("anna", "tom")]
TEMPLATE = "then {} and {} went to the park . {} gave a ball to"


def prompts(model: HookedTransformer):
    """Clean and corrupted prompts, and the right and wrong answer of each clean one."""
    clean, corrupted, answers = [], [], []
    for first, second in PAIRS:
        for giver, receiver in ((first, second), (second, first)):
            clean.append(TEMPLATE.format(first, second, giver))
            corrupted.append(TEMPLATE.format(first, second, receiver))
            answers.append([model.to_single_token(receiver), model.to_single_token(giver)])
    return model.to_tokens(clean), model.to_tokens(corrupted), torch.tensor(answers, device=model.cfg.device)


def logit_difference(logits, answers, per_prompt=False):
    right, wrong = logits[:, -1].gather(-1, answers).unbind(dim=-1)
    return right - wrong if per_prompt else (right - wrong).mean()


def run(model: HookedTransformer) -> dict:
    torch.set_grad_enabled(False)
    tokens, corrupted, answers = prompts(model)
    logits, cache = model.run_with_cache(tokens)
    corrupted_logits, corrupted_cache = model.run_with_cache(corrupted)
    clean_difference = logit_difference(logits, answers)
    corrupted_difference = logit_difference(corrupted_logits, answers)

    def metric(logits):
        recovered = logit_difference(logits, answers) - corrupted_difference
        return recovered / (clean_difference - corrupted_difference)

    found = {"differences": logit_difference(logits, answers, per_prompt=True)}
    found |= attributed(model, cache, answers)
    found |= patched(model, corrupted, cache, metric)
    found["direct effects"] = path_patched(model, tokens, cache, corrupted_cache, metric)
    found["copying"] = copying(model, answers)
    model.reset_hooks(including_permanent=True)
    return found


def attributed(model: HookedTransformer, cache: ActivationCache, answers) -> dict:
    """What each part of the stream adds to the logit difference."""
    directions = model.tokens_to_residual_directions(answers)
    direction = directions[:, 0] - directions[:, 1]

    def onto_direction(stack):
        scaled = cache.apply_ln_to_stack(stack, layer=-1, pos_slice=-1)
        return einops.einsum(scaled, direction, "... batch d_model, batch d_model -> ...") / len(direction)

    final = cache["resid_post", -1][:, -1]
    accumulated, levels = cache.accumulated_resid(layer=-1, incl_mid=True, pos_slice=-1, return_labels=True)
    by_layer, layers = cache.decompose_resid(layer=-1, pos_slice=-1, return_labels=True)
    by_head, heads = cache.stack_head_results(layer=-1, pos_slice=-1, return_labels=True)
    attrs = cache.logit_attrs(by_head, answers[:, 0], incorrect_tokens=answers[:, 1], pos_slice=-1)
    return {
        "from the end": onto_direction(final[None])[0],
        "accumulated": onto_direction(accumulated),
        "by layer": onto_direction(by_layer),
        "by head": onto_direction(by_head),
        "by logit_attrs": attrs.mean(-1),
        "labels": [*levels, *layers, *heads],
    }


def patched(model: HookedTransformer, corrupted, cache: ActivationCache, metric) -> dict:
    """The library's sweeps, and one of them written out."""
    model.reset_hooks()
    by_hand = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, device=model.cfg.device, dtype=model.cfg.dtype)
    for layer, head in product(range(model.cfg.n_layers), range(model.cfg.n_heads)):

        def patch(z, hook: HookPoint, head_index):
            z[:, :, head_index] = cache[hook.name][:, :, head_index]
            return z

        hooks = [(utils.get_act_name("z", layer), partial(patch, head_index=head))]
        by_hand[layer, head] = metric(model.run_with_hooks(corrupted, fwd_hooks=hooks, return_type="logits"))
    return {
        "patched streams": patching.get_act_patch_resid_pre(model, corrupted, cache, metric),
        "patched blocks": patching.get_act_patch_block_every(model, corrupted, cache, metric),
        "patched heads": patching.get_act_patch_attn_head_out_all_pos(model, corrupted, cache, metric),
        "patched parts of heads": patching.get_act_patch_attn_head_all_pos_every(model, corrupted, cache, metric),
        "patched parts by position": patching.get_act_patch_attn_head_by_pos_every(model, corrupted, cache, metric),
        "patched heads by hand": by_hand,
    }


def path_patched(model: HookedTransformer, tokens, cache, other_cache, metric):
    """The effect of each head on the logits that no later head passes on."""
    last = utils.get_act_name("resid_post", model.cfg.n_layers - 1)
    effects = torch.zeros(model.cfg.n_layers, model.cfg.n_heads, device=model.cfg.device, dtype=model.cfg.dtype)
    for sender in product(range(model.cfg.n_layers), range(model.cfg.n_heads)):
        model.reset_hooks()

        def freeze(z, hook: HookPoint, sender=sender):
            z[...] = cache[hook.name][...]
            if hook.layer() == sender[0]:
                z[:, :, sender[1]] = other_cache[hook.name][:, :, sender[1]]
            return z

        model.add_hook(lambda name: name.endswith("hook_z"), freeze)
        _, patched_cache = model.run_with_cache(tokens, names_filter=lambda name: name == last, return_type=None)
        assert set(patched_cache.keys()) == {last}
        effects[sender] = metric(model.unembed(model.ln_final(patched_cache[last])))
    model.reset_hooks()
    return effects


def copying(model: HookedTransformer, answers):
    """How high each head of the last layer ranks a name that it attends to."""
    names = model.embed(answers[:, 0])
    after_first_mlp = names + model.blocks[0].mlp(model.blocks[0].ln2(names[None]))[0]
    results = after_first_mlp @ model.W_V[-1] @ model.W_O[-1]
    return model.unembed(model.ln_final(results)).gather(-1, answers[None, :, :1].expand(model.cfg.n_heads, -1, -1))
