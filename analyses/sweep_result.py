"""A sweep as a result: the verdict, the cells, and the check of its engine."""

from collections.abc import Mapping
from typing import Any

from interp.effects import Effects
from interp.tasks import PromptPairs

from .engine_wording import verified
from .result import Result
from .sweep_tables import cell_table
from .sweep_verdict import measured, numbers, verdict

_DONE = {
    "patch": "the value of the other run is put in",
    "zero": "zero is put in",
    "mean": "the mean over the other run's prompts is put in",
    "resample": "the value of a prompt of the other run, drawn at random, is put in",
}


def sweep_result(found: Mapping[str, Effects], pairs: PromptPairs) -> Result:
    """The result of one sweep.

    Args:
        found: the effects on each metric, by the metric's name; the first is the one that the finding is about.
    """
    first = next(iter(found.values()))
    tables = {name: cell_table(effects) for name, effects in found.items()}
    edited, other = ("corrupted", "clean") if first.direction == "denoising" else ("clean", "corrupted")
    return Result(
        name="sweep",
        title=f"Sweep over {' × '.join(first.axes)} at {first.point}",
        question=f"What does it do to the {' and the '.join(map(measured, found.values()))} of the {edited} run "
        f"when {_DONE[first.intervention]} at one cell ({first.direction})?",
        verdict=verdict(dict(found), tables, pairs),
        numbers=numbers(first),
        tables={f"Cells that can matter, by effect on the {name}": table for name, table in tables.items()},
        identities=verified([first.verification]),
        what_it_is=f"The {edited} prompts are run once for each cell with that one place changed. The effect is the "
        f"metric with the change less the metric without it; the share is of the difference to the {other} run.",
        how_to_read="Intervals: 95 % over pairs, or over templates where pairs have them. p is adjusted for all cells "
        "that can matter (signs of whole pairs flipped, max-T); q is the false-discovery rate.",
        source="Zhang and Nanda (2023), Towards Best Practices of Activation Patching in Language Models.",
    )


def effects_as_dict(effects: Effects) -> dict[str, Any]:
    """Everything that is known of the effects in JSON's own types; values are prompt, then axis by axis."""
    flips = effects.sign_flips
    return {
        "point": effects.point,
        "intervention": effects.intervention,
        "direction": effects.direction,
        "metric": effects.metric,
        "axes": list(effects.axes),
        "coordinates": [list(of) for of in effects.coordinates],
        "values": effects.values.tolist(),
        "clean": effects.clean.tolist(),
        "corrupted": effects.corrupted.tolist(),
        "effect": effects.mean.tolist(),
        "effect_low": effects.effect.low.tolist(),
        "effect_high": effects.effect.high.tolist(),
        "normalised": effects.normalised.mean.tolist(),
        "normalised_low": effects.normalised.low.tolist(),
        "normalised_high": effects.normalised.high.tolist(),
        "p": flips.single.tolist(),
        "p_adjusted": flips.adjusted.tolist(),
        "q": effects.q_values.tolist(),
        "smallest_p": effects.smallest_p,
        "significant": effects.significant.tolist(),
        "dead": effects.dead.tolist(),
        "noise_floor": None if effects.noise_floor is None else effects.noise_floor.tolist(),
        "notes": list(effects.notes),
        "engine": effects.engine,
        "verification": effects.verification,
        "clusters": list(effects.clusters),
        "tokens_clean": [list(row) for row in effects.tokens_clean],
        "tokens_corrupted": [list(row) for row in effects.tokens_corrupted],
        "provenance": dict(effects.provenance),
    }
