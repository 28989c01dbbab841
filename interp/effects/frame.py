"""Effects as a pandas data frame."""

import pandas as pd
import torch

from .effects import Effects


def frame(effects: Effects) -> pd.DataFrame:
    """A row for each cell; `Effects.to_frame` says what stands in it."""
    effect, normalised, noise = effects.effect, effects.normalised, effects.noise_floor
    columns = {
        "metric": effects.values.mean(dim=0),
        "effect": effect.mean,
        "effect_standard_error": effect.standard_error,
        "effect_low": effect.low,
        "effect_high": effect.high,
        "normalised": normalised.mean,
        "normalised_low": normalised.low,
        "normalised_high": normalised.high,
        "p": effects.sign_flips.single,
        "p_adjusted": effects.p_values,
        "q": effects.q_values,
        "noise_floor": torch.full_like(effect.mean, torch.nan if noise is None else float(noise.mean())),
        "significant": effects.significant,
        "dead": effects.dead,
    }
    cells = pd.DataFrame(effects.cells, columns=list(effects.axes))
    numbers = {name: values.flatten().numpy(force=True) for name, values in columns.items()}
    return pd.concat([cells, pd.DataFrame(numbers)], axis=1)
