"""Patching by one backward pass: gradients cached by backward hooks, times the difference of the activations."""

import einops
import torch

from models.compat import ActivationCache, HookedTransformer, patching, utils
from models.compat.hook_points import HookPoint

from .indirect_objects import logit_difference, prompts


def cached_both_ways(model: HookedTransformer, tokens, metric):
    """The metric, the activations and the gradients of one run, by hooks at every point but the split inputs."""
    model.reset_hooks()
    forward, backward = {}, {}

    def wanted(name):
        return "_input" not in name

    def keep(activation, hook: HookPoint):
        forward[hook.name] = activation.detach()

    def keep_gradient(gradient, hook: HookPoint):
        backward[hook.name] = gradient.detach()

    model.add_hook(wanted, keep, "fwd")
    model.add_hook(wanted, keep_gradient, "bwd")
    value = metric(model(tokens))
    value.backward()
    model.reset_hooks()
    return value.item(), ActivationCache(forward, model), ActivationCache(backward, model)


def run(model: HookedTransformer) -> dict:
    torch.set_grad_enabled(True)
    model.set_use_attn_result(True)
    model.set_use_attn_in(True)
    model.set_use_hook_mlp_in(True)
    tokens, corrupted, answers = prompts(model)

    def metric(logits):
        return logit_difference(logits, answers)

    clean_value, clean_cache, _ = cached_both_ways(model, tokens, metric)
    value, cache, gradients = cached_both_ways(model, corrupted, metric)
    found = {"values": torch.tensor([clean_value, value])}
    found |= {f"of {name}": share for name, share in shares(clean_cache, cache, gradients).items()}
    found |= heads(model, clean_cache, cache, gradients)
    found["of patterns"] = einops.reduce(
        gradients.stack_activation("pattern") * cache.stack_activation("pattern"),
        "layer batch head query key -> layer head query key",
        "sum",
    )
    model.set_use_attn_result(False)
    model.set_use_attn_in(False)
    model.set_use_hook_mlp_in(False)
    with torch.no_grad():
        found["patched streams"] = patching.get_act_patch_resid_pre(model, corrupted, clean_cache, metric)
    found["by inputs"] = by_inputs(model, corrupted, metric)
    found["gradients from run_with_cache"] = model.run_with_cache(
        corrupted, names_filter=utils.get_act_name("resid_pre", 1), incl_bwd=True, return_type="loss"
    )[1]["blocks.1.hook_resid_pre_grad"]
    model.zero_grad()
    torch.set_grad_enabled(False)
    return found


def shares(clean: ActivationCache, cache: ActivationCache, gradients: ActivationCache) -> dict:
    """The estimated effect of each layer's activations at each position."""
    found = {}
    for name in ("resid_pre", "attn_out", "mlp_out", "resid_mid"):
        product = (clean.stack_activation(name) - cache.stack_activation(name)) * gradients.stack_activation(name)
        found[name] = einops.reduce(product, "layer batch pos d_model -> layer pos", "sum")
    stream, levels = clean.accumulated_resid(-1, incl_mid=True, return_labels=True)
    product = (stream - cache.accumulated_resid(-1, incl_mid=True)) * gradients.accumulated_resid(-1, incl_mid=True)
    return found | {
        "levels": levels,
        "the stream": einops.reduce(product, "level batch pos d_model -> level pos", "sum"),
    }


def heads(model: HookedTransformer, clean, cache, gradients) -> dict:
    """The same for each head's output, queries, keys and values; and through the stream, for its result."""
    found = {}
    for name in ("q", "k", "v", "z"):
        product = (clean.stack_activation(name) - cache.stack_activation(name)) * gradients.stack_activation(name)
        found[f"of {name}"] = einops.reduce(product, "layer batch pos head d_head -> layer head", "sum")
    results, labels = clean.stack_head_results(-1, return_labels=True)
    last = gradients["resid_post", -1]
    difference = results - cache.stack_head_results(-1)
    found["direct"] = einops.einsum(difference, last, "head batch pos d, batch pos d -> head")
    found["of inputs"] = torch.stack(
        [
            einops.reduce(
                (clean["attn_in", layer] - cache["attn_in", layer]) * gradients["attn_in", layer],
                "batch pos head d_model -> head",
                "sum",
            )
            for layer in range(model.cfg.n_layers)
        ]
    )
    return found | {"labels": labels}


def by_inputs(model: HookedTransformer, tokens, metric):
    """The gradient at each head's query, key and value input, where they are split."""
    model.set_use_split_qkv_input(True)
    norms = {}

    def keep(gradient, hook: HookPoint):
        norms[hook.name] = gradient.norm(dim=-1).sum((0, 1))

    names = [f"blocks.{layer}.hook_{what}_input" for layer in range(model.cfg.n_layers) for what in "qkv"]
    with model.hooks(bwd_hooks=[(name, keep) for name in names]):
        metric(model(tokens)).backward()
    model.set_use_split_qkv_input(False)
    model.zero_grad()
    return torch.stack([norms[name] for name in names])
