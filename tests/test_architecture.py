"""The import direction, and what a bare import may load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"interp", "models", "analyses"}
ALLOWED = {"interp": set(), "models": set(), "analyses": {"interp", "models"}}


def imported_packages(source: str) -> set[str]:
    """The top-level packages that a module imports absolutely, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


def violations(package: str, source: str) -> set[str]:
    """The packages of ours that a module of `package` may not import, its own (absolutely) included."""
    return (imported_packages(source) & PACKAGES) - ALLOWED[package]


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_run_one_way_and_are_relative_inside_a_package(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = {str(path.relative_to(ROOT)): violations(package, path.read_text()) for path in files}
    assert {path: found for path, found in wrong.items() if found} == {}


def test_the_check_above_sees_a_wrong_import():
    assert violations("interp", "def f():\n    from models import HookedTransformer") == {"models"}
    assert violations("analyses", "from models import HookedTransformer") == set()


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_interp_loads_no_plotting_training_or_hugging_face_code():
    loaded = loaded_by("import interp")
    assert "interp" in loaded
    assert loaded & {"plotly", "transformer_lens", "transformers", "models", "analyses", "pandas"} == set()


def test_no_file_is_a_drawer_for_everything():
    names = {path.name for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert names & {"utils.py", "helpers.py", "common.py", "misc.py"} == set()
