"""The reference tables of the guide say what the code says: hook points, errors, exit codes."""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import NamedTuple

import pytest

import analyses.errors
import interp.errors
import models.errors
from analyses import exit_codes
from interp.invariants import INVARIANTS
from models import HookedTransformerConfig
from models.recipes import RECIPES, Recipe
from tests.conftest import order_one_model, random_tokens
from tests.models.test_points import VARIANTS

DOCS = Path(__file__).parents[1] / "docs"

FIELDS = fields(HookedTransformerConfig)


def rows(page: str, columns: int) -> list[list[str]]:
    """The cells of every table row of so many columns whose first cell is code."""
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]
    return [row for row in cells if len(row) == columns]


class Point(NamedTuple):
    name: str
    axes: tuple[str, ...]
    there_where: str
    switch: str | None


def point(cells: list[str]) -> Point:
    """The point that a row of the table describes."""
    name, axes = (part.strip("`") for part in cells[0].split("<br>"))
    there_where, _, switch = cells[1].rpartition("switch ") if "switch" in cells[1] else (cells[1], "", "")
    return Point(name, tuple(axes.split()), there_where.strip("`, ") or "True", switch.strip("`") or None)


POINTS = [point(cells) for cells in rows("hooks.md", 3)]


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_hook_table_names_exactly_the_points_of_every_model(changes):
    model = order_one_model(**{**changes, "n_layers": 2})
    fields_of_cfg = model.cfg.to_dict()
    documented = {
        point.name.replace("{l}", str(layer)): point
        for point in POINTS
        for layer in range(2)
        if eval(point.there_where, {}, fields_of_cfg)
    }
    assert set(documented) == set(model.hook_dict)
    per_head = model.cfg.norm_placement == "pre" and (model.cfg.use_split_qkv_input or model.cfg.use_attn_in)
    for name, point in model.hook_dict.items():
        axes = documented[name].axes
        if per_head and ".ln1." in name:
            axes = (*axes[:2], "head", *axes[2:])
        assert (axes, documented[name].switch) == (point.axes, point.switch), name


@pytest.mark.parametrize(
    "changes",
    [changes for changes in VARIANTS.values() if changes.get("norm_placement") != "post"],
    ids=[name for name, changes in VARIANTS.items() if changes.get("norm_placement") != "post"],
)
def test_the_hook_table_is_in_the_order_of_firing(changes):
    model = order_one_model(**{**changes, "n_layers": 1})
    fired = list(model.run_with_cache(random_tokens(), return_cache_object=False)[1])
    order = [point.name.replace("{l}", "0") for point in POINTS]
    assert fired == sorted(fired, key=order.index)


def test_no_point_stands_in_the_table_twice_and_every_row_says_what_it_holds():
    assert len({point.name for point in POINTS}) == len(POINTS) > 30
    assert all(len(row[-1]) > 20 for row in rows("hooks.md", 3))


def test_a_row_less_would_be_seen():
    page = (DOCS / "hooks.md").read_text()
    assert re.search(r"^\| `blocks\.\{l\}\.attn\.hook_z`<br>", page, flags=re.MULTILINE)


def recipe_row(recipe: Recipe) -> str:
    """The row of a bundled model as the page must have it."""
    cfg = recipe.architecture
    cells = (
        f"`{recipe.name}`",
        f"{cfg.n_layers} × {cfg.n_heads} × {cfg.d_model}",
        f"{cfg.n_ctx}",
        f"{cfg.d_vocab:,}",
        f"{recipe.steps:,} × {recipe.batch:,}",
        f"{recipe.learning_rate:g} to {recipe.final_learning_rate:g}",
        f"{recipe.weight_decay:g}",
    )
    return f"| {' | '.join(cells)} |"


def test_the_page_of_the_models_has_every_recipe_and_every_field_with_its_default():
    page = (DOCS / "models.md").read_text()
    for recipe in RECIPES.values():
        assert recipe_row(recipe) in page
    documented = {name.strip("`"): default.strip("`") for name, default, _ in rows("models.md", 3)}
    defaults = {field.name: "" if field.default is MISSING else repr(field.default) for field in FIELDS}
    assert {name: documented.get(name) for name in defaults} == defaults


def test_the_page_of_the_check_has_every_invariant_with_its_statement():
    documented = dict(rows("check.md", 2))
    expected = {f"`{each.name}`": each.statement.replace("|", r"\|") for each in INVARIANTS}
    assert {name: documented.get(name) for name in expected} == expected


PACKAGES = {
    "Errors of `interp`": interp.errors,
    "Errors of `models`": models.errors,
    "Errors of the analyses": analyses.errors,
}


@pytest.mark.parametrize("heading", PACKAGES)
def test_the_page_of_errors_has_every_error_with_its_exit_code(heading):
    section = (DOCS / "errors.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    documented = {name.strip(" `"): int(code) for name, _, _, code in lines}
    module = PACKAGES[heading]
    found = {
        name: kind for name, kind in vars(module).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    # Built without its arguments: only the type decides.
    assert documented == {name: exit_codes.exit_code(kind.__new__(kind)) for name, kind in found.items()}


def test_the_page_of_errors_has_every_exit_code():
    documented = {name: int(code.strip("`")) for code, name, _ in rows("errors.md", 3)}
    assert documented == {
        name: code for name, code in vars(exit_codes).items() if name.isupper() and isinstance(code, int)
    }
