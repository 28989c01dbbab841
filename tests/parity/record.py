"""Records TransformerLens 3.9's HookedTransformer: `python -m tests.parity.record [FOLDER]`, in its environment."""

import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import torch

from .configurations import CONFIGURATIONS
from .observations import Side, observe
from .storage import RECORDED, SAVED_BY_THEM, write


def original() -> Side:
    """TransformerLens' own classes, which only versions before 4 have."""
    import transformer_lens

    return Side(
        transformer_lens.HookedTransformerConfig,
        transformer_lens.HookedTransformer,
        transformer_lens.TransformerLensKeyValueCache,
    )


def record(folder: Path) -> None:
    """One file for each configuration in the folder."""
    if version("transformer-lens") != "3.9.0":
        sys.exit(f"the reference is transformer-lens 3.9.0; this environment has {version('transformer-lens')}")
    warnings.simplefilter("ignore", DeprecationWarning)
    folder.mkdir(parents=True, exist_ok=True)
    side = original()
    for configuration in CONFIGURATIONS:
        write(observe(side, configuration), folder / f"{configuration.name}.npz")
        if configuration.name in SAVED_BY_THEM:
            torch.save(side.build(configuration).state_dict(), folder / f"{configuration.name}.pt")
    print(f"{len(CONFIGURATIONS)} configurations recorded")


if __name__ == "__main__":
    record(Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDED)
