"""Effects that are known, without a model: pairwise different sizes, coordinates that are not their own places."""

from typing import Any

import torch

from interp.effects import Effects

N_PROMPTS, LAYERS, HEADS, POSITIONS = 8, (3, 4), (0, 2, 5), (4, 5, 6, 7)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(**changes: Any) -> Effects:
    """Effects over layer, head and position; at (4, 5, 6) every prompt's effect is 2, at (3, 0, any) none can be."""
    clean, corrupted = 3 + drawn(N_PROMPTS, seed=1), drawn(N_PROMPTS, seed=2)
    values = corrupted[:, None, None, None] + 0.1 * drawn(N_PROMPTS, 2, 3, 4)
    values[:, 1, 2, 2] = corrupted + 2.0
    dead = torch.zeros(2, 3, 4, dtype=torch.bool)
    dead[0, 0] = True
    values[:, dead] = corrupted[:, None].expand(-1, 4)
    prompt = [f" w{at}" for at in range(8)]
    parts = {
        "point": "blocks.*.attn.hook_z",
        "intervention": "patch",
        "direction": "denoising",
        "metric": "logit difference",
        "axes": ("layer", "head", "pos"),
        "coordinates": (LAYERS, HEADS, POSITIONS),
        "values": values,
        "clean": clean,
        "corrupted": corrupted,
        "dead": dead,
        "tokens_clean": (tuple(prompt),) * N_PROMPTS,
        "tokens_corrupted": tuple(
            tuple(f" {'v' if at == 5 else 'w'}{at}" for at in range(8)) for _ in range(N_PROMPTS)
        ),
    }
    return Effects(**{**parts, **changes})
