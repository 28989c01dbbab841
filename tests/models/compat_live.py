"""The scripts under TransformerLens 3.9.0 and under `models.compat`: `python -m tests.models.compat_live PYTHON`.

PYTHON is the interpreter of an environment that has TransformerLens 3.9.0 (`python -m tests.parity.live` makes one in
`.parity/`). The scripts are copied with `models.compat` replaced by `transformer_lens` and nothing else.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from tests.models.compat_models import SCRIPTS, flattened

FOLDER = Path(__file__).parent / "compat_scripts"
THEIRS = """
import dataclasses, importlib, json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
from transformers import AutoTokenizer
from transformer_lens import HookedTransformer, HookedTransformerConfig
from flattening import flattened

folder, script = sys.argv[1:]
fields = json.load(open(f"{folder}/config.json"))
known = {field.name for field in dataclasses.fields(HookedTransformerConfig)}
cfg = HookedTransformerConfig(**{k: v for k, v in fields.items() if k in known}, dtype=torch.float64, device="cpu")
model = HookedTransformer(cfg, AutoTokenizer.from_pretrained(f"{folder}/tokenizer"))
missing, unexpected = model.load_state_dict(torch.load(f"{folder}/state.pt"), strict=False)
assert not unexpected and all(k.split(".")[-1] in ("mask", "IGNORE", "rotary_sin", "rotary_cos") for k in missing)
found = dict(flattened(importlib.import_module(f"compat_scripts.{script}").run(model.eval())))
json.dump({k: v for k, v in found.items() if isinstance(v, str)}, open(f"{folder}/texts.json", "w"))
np.savez(f"{folder}/arrays.npz", **{k.replace("/", "|"): v for k, v in found.items() if not isinstance(v, str)})
"""


def theirs(python: Path, script: str, model, folder: Path) -> dict:
    """What the script returns under the other interpreter."""
    code = Path(folder) / "code"
    (code / "compat_scripts").mkdir(parents=True)
    for source in FOLDER.glob("*.py"):
        text = source.read_text().replace("models.compat", "transformer_lens")
        (code / "compat_scripts" / source.name).write_text(text)
    own = (Path(__file__).parent / "compat_models.py").read_text()
    (code / "flattening.py").write_text(
        "import numpy as np, torch\nfrom typing import Any, Iterator\n" + own[own.index("def flattened") :]
    )
    (code / "record.py").write_text(THEIRS)
    fields = {k: v for k, v in model.cfg.to_dict().items() if k not in ("dtype", "device")}
    (folder / "config.json").write_text(json.dumps(fields))
    torch.save(model.state_dict(), folder / "state.pt")
    model.tokenizer.save_pretrained(folder / "tokenizer")
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run([python, code / "record.py", folder, script], check=True, env=environment, cwd=folder)
    arrays = {k.replace("|", "/"): v for k, v in np.load(folder / "arrays.npz").items()}
    return arrays | json.loads((folder / "texts.json").read_text())


def differences(ours: dict, theirs: dict) -> dict[str, float]:
    """The largest difference of each entry; texts and shapes that differ count as infinite."""
    found = {}
    for name in ours.keys() | theirs.keys():
        a, b = ours.get(name), theirs.get(name)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape:
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            found[name] = float(np.where(same, 0.0, np.abs(a - b)).max(initial=0.0))
        else:
            found[name] = 0.0 if isinstance(a, str) and a == b else np.inf
    return found


def main() -> None:
    """Each script's largest difference on stdout, and every entry that differs by more than 1e-8."""
    torch.set_num_threads(1)
    python = Path(sys.argv[1]).absolute()
    for script, make in SCRIPTS.items():
        if sys.argv[2:] and script not in sys.argv[2:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            other = theirs(python, script, make(), Path(folder))
        ours = dict(flattened(import_module(f"tests.models.compat_scripts.{script}").run(make())))
        found = differences(ours, other)
        print(f"{script}: {len(found)} entries, largest difference {max(found.values()):.1e}")
        for name, difference in sorted(found.items()):
            if difference > 1e-8:
                print(f"  {name}: {difference:.1e}  ours {_shown(ours.get(name))}  theirs {_shown(other.get(name))}")


def _shown(value) -> str:
    return f"{value.shape} {value.flatten()[:3]}" if isinstance(value, np.ndarray) else repr(value)


if __name__ == "__main__":
    main()
