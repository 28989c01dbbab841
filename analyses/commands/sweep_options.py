"""The options of `interp sweep`."""

from collections.abc import Callable
from typing import Any, get_args

import click

from interp.effects import Direction
from interp.prepared_sweep import Engine
from interp.tasks import TASKS

from ..sweep_metrics import METRICS
from ..sweep_request import INTERVENTIONS, N_PAIRS
from .sweep_arguments import AXES, BlockSize, Indices, LayersArgument, Memory, Names, PointName, TaskArgument

VERIFIED = 4
"""Cells that are run again the plain way where nothing else is asked for."""

_OPTIONS = (
    click.option(
        "--task", required=True, type=TaskArgument(), metavar="NAME|FILE",
        help=f"Prompt pairs: {', '.join(TASKS)}, or a .json or .csv file.",
    ),
    click.option(
        "--site", type=PointName(), default="z", show_default=True,
        help="What is changed in every block: z, resid_pre, mlp_out, pattern, …, or hook names.",
    ),
    click.option(
        "--over", type=Names("axis", AXES), default="", metavar="AXES",
        help="What tells cells apart: layer,head or layer,head,pos. Other axes are changed as a whole. "
        "Default: heads where the site has them, else positions.",
    ),
    click.option(
        "--metric", "metrics", type=Names("metric", METRICS), default="", metavar="NAMES",
        help=f"What is measured: {', '.join(METRICS)}; several with commas. Default: what the task is made for.",
    ),
    click.option(
        "--direction", type=click.Choice(get_args(Direction)), default="denoising", show_default=True,
        help="denoising: clean values into the corrupted run; noising: the reverse.",
    ),
    click.option(
        "--intervention", type=click.Choice(INTERVENTIONS), default="patch", show_default=True,
        help="What is put in: the other run's value, zero, its mean over prompts, or that of one drawn at random.",
    ),
    click.option(
        "--n", "n_pairs", type=click.IntRange(min=1),
        help=f"How many pairs. Default: {N_PAIRS} of a task, all of a file.",
    ),
    click.option(
        "--seed", type=int, default=0, show_default=True,
        help="Of the pairs, of what is drawn at random, and of the cells that are verified.",
    ),
    click.option(
        "--most-common-length", is_flag=True, help="Of pairs of different lengths, take those of the most common one."
    ),
    click.option("--layers", type=LayersArgument(), metavar="LAYERS", help="Only these blocks: 2, 0,3 or 0:3."),
    click.option(
        "--window", type=click.IntRange(min=1), default=1, show_default=True,
        help="So many blocks in a row are changed together.",
    ),
    click.option(
        "--blocks", type=BlockSize(), multiple=True, metavar="AXIS=N",
        help="So many neighbours are changed together: d_mlp=64. Repeatable.",
    ),
    click.option(
        "--only", type=Indices(), multiple=True, metavar="AXIS=INDICES",
        help="Only these indices: pos=4,5 or pos=4:8. Repeatable.",
    ),
    click.option(
        "--freeze", type=PointName(), multiple=True, metavar="SITE",
        help="A site that keeps what it was whatever is changed before it: pattern. Repeatable.",
    ),
    click.option(
        "--engine", type=click.Choice(get_args(Engine)),
        help="wavefront: exact and fast; hooks: a forward pass for each cell. Default: the first, where it can run.",
    ),
    click.option(
        "--max-memory", type=Memory(), metavar="SIZE",
        help="What the sweep may take beside the model: 2GB. Default: half of what is free.",
    ),
    click.option(
        "--verify", type=click.IntRange(min=0), default=VERIFIED, show_default=True, metavar="K",
        help="So many cells of the exact engine are run again the plain way.",
    ),
    click.option("--plan", "plan_only", is_flag=True, help="Say what it would cost, and stop."),
)  # fmt: skip


def sweep_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
