"""Effects as an xarray data set."""

import xarray as xr

from .effects import Effects


def dataset(effects: Effects) -> xr.Dataset:
    """Every prompt's values and what is known of each cell; `Effects.to_xarray` says more."""
    effect, axes = effects.effect, effects.axes
    of_cells = {
        "effect": effect.mean,
        "effect_standard_error": effect.standard_error,
        "effect_low": effect.low,
        "effect_high": effect.high,
        "normalised": effects.normalised.mean,
        "p": effects.sign_flips.single,
        "p_adjusted": effects.p_values,
        "q": effects.q_values,
        "significant": effects.significant,
        "dead": effects.dead,
    }
    of_prompts = {"clean": effects.clean, "corrupted": effects.corrupted}
    if effects.noise_floor is not None:
        of_prompts["noise_floor"] = effects.noise_floor
    told = ("point", "intervention", "direction", "metric", "engine")
    return xr.Dataset(
        {
            "values": (("prompt", *axes), effects.values.numpy(force=True)),
            **{name: (axes, values.numpy(force=True)) for name, values in of_cells.items()},
            **{name: ("prompt", values.numpy(force=True)) for name, values in of_prompts.items()},
        },
        coords={**dict(zip(axes, map(list, effects.coordinates), strict=True)), **dict(effects.fixed)},
        attrs={**{name: getattr(effects, name) for name in told}, "notes": list(effects.notes)},
    )
