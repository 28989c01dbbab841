"""TransformerLens 3.9.0 run afresh and compared: `python -m tests.parity.live [ITS_INTERPRETER]`.

Without an interpreter an environment is made in `.parity/`, once.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from .comparison import TOLERANCE, expected_firing, largest_difference
from .configurations import CONFIGURATIONS
from .observations import observe
from .ours import OURS
from .storage import read

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".parity"
PACKAGES = ["torch==2.13.0", "transformer-lens==3.9.0"]


def interpreter() -> Path:
    """The interpreter of an environment that has TransformerLens 3.9.0, made if it is missing."""
    python, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed"
    if done.is_file() and done.read_text().split() == PACKAGES:
        return python
    print(f"making {ENVIRONMENT.name}/ with {' '.join(PACKAGES)}")
    if shutil.which("uv"):
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, ENVIRONMENT], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", python, *_folder_of_wheels()]
    else:
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *PACKAGES], check=True)
    done.write_text("\n".join(PACKAGES))
    return python


def _folder_of_wheels() -> list[str]:
    # uv does not read pip's configuration, so a folder of wheels that pip knows is passed on to it.
    asked = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    links = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return ["--find-links", links] if links else []


def main() -> None:
    """The largest difference of each configuration on stdout; exit status 1 if one is not below the tolerance."""
    torch.set_num_threads(1)
    python = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else interpreter()
    with tempfile.TemporaryDirectory() as folder:
        record = [python, "-m", "tests.parity.record", folder]
        subprocess.run(record, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
        worst = 0.0
        for configuration in CONFIGURATIONS:
            theirs, ours = read(Path(folder) / f"{configuration.name}.npz"), observe(OURS, configuration)
            if ours.firing != expected_firing(theirs, configuration):
                sys.exit(f"{configuration.name}: hook points fire in another order")
            difference, name = largest_difference(ours, theirs)
            print(f"{configuration.name:26} {len(ours.arrays):4} arrays  {difference:.1e}  {name}")
            worst = max(worst, difference)
    print(f"largest difference {worst:.1e}, tolerance {TOLERANCE:.0e}")
    if not worst < TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
