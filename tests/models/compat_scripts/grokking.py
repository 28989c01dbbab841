"""Modular addition: a small transformer without norms trained for some steps, its embedding in Fourier's terms."""

import copy

import einops
import torch
import torch.nn.functional as F

from models.compat import HookedTransformer, utils

P = 7


def loss_of(logits, labels):
    chosen = logits[:, -1].to(torch.float64).log_softmax(-1).gather(-1, labels[:, None])
    return -chosen.mean()


def run(model: HookedTransformer) -> dict:
    torch.set_grad_enabled(True)
    pairs = torch.cartesian_prod(torch.arange(P), torch.arange(P)).to(model.cfg.device)
    dataset = torch.cat([pairs, torch.full((P * P, 1), P, device=model.cfg.device)], dim=1)
    labels = pairs.sum(1) % P
    for name, parameter in model.named_parameters():
        if "b_" in name:
            parameter.requires_grad = False
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=1.0, betas=(0.9, 0.98))
    losses, checkpoints = [], []
    for _ in range(6):
        loss = loss_of(model(dataset), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        checkpoints.append(copy.deepcopy(model.state_dict()))
    torch.set_grad_enabled(False)
    found = {"losses": losses} | fourier(model, dataset, labels)
    model.load_state_dict(checkpoints[0])
    found["the first checkpoint"] = model(dataset)[:, -1]
    found["the first loss"] = loss_of(model(dataset), labels)
    return found


def basis():
    """Fourier's basis over the inputs: the constant, then cosine and sine of each frequency."""
    angles = 2 * torch.pi * torch.arange(P, dtype=torch.float64) / P
    waves = [torch.ones(P, dtype=torch.float64)]
    for frequency in range(1, P // 2 + 1):
        waves += [(frequency * angles).cos(), (frequency * angles).sin()]
    return torch.stack([wave / wave.norm() for wave in waves])


def fourier(model: HookedTransformer, dataset, labels) -> dict:
    waves = basis().to(model.W_E)
    _, cache = model.run_with_cache(dataset)
    activations = cache["post", 0, "mlp"][:, -1]
    by_pair = einops.rearrange(activations, "(a b) neuron -> a b neuron", a=P)
    in_waves = einops.einsum(waves, waves, by_pair, "u a, v b, a b neuron -> u v neuron")

    def kept(post, hook):
        # The activations rebuilt from single waves alone.
        only = in_waves.clone()
        only[1:, 1:] = 0
        rebuilt = einops.einsum(waves, waves, only, "u a, v b, u v neuron -> a b neuron")
        post[:, -1] = rebuilt.flatten(0, 1)
        return post

    logits = model.run_with_hooks(dataset, fwd_hooks=[(utils.get_act_name("post", 0), kept)])
    return {
        "embedding": (waves @ model.embed.W_E[:P]).norm(dim=-1),
        "neurons": in_waves.pow(2).sum((0, 1)),
        "attention": cache["pattern", 0][:, :, -1],
        "unembedded": waves @ (model.blocks[0].mlp.W_out @ model.unembed.W_U)[:, :P].T,
        "singular": torch.linalg.svdvals(model.W_E[:P]),
        "with single waves": [loss_of(logits, labels), F.mse_loss(logits[:, -1], model(dataset)[:, -1])],
    }
