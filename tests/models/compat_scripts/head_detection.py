"""Heads found by what they attend to: by name, by a pattern of one's own, in some layers only, over several texts."""

import torch

from models.compat import HookedTransformer, head_detector
from models.compat.head_detector import detect_head, get_induction_head_detection_pattern

TEXT = "def first(value):\n    return value\n\ndef second(value):\n    return value\n"
OTHER = "import os\nimport sys\nimport os\n"


def run(model: HookedTransformer) -> dict:
    torch.set_grad_enabled(False)
    found = {}
    for name in head_detector.HEAD_NAMES:
        found[name] = detect_head(model, TEXT, name)
        found[f"{name}, excluded"] = detect_head(model, TEXT, name, exclude_bos=True, exclude_current_token=True)
        found[f"{name}, absolute"] = detect_head(model, TEXT, name, error_measure="abs")
        found[f"{name}, two texts"] = detect_head(model, [TEXT, OTHER], name)
        found[f"{name}, one head"] = detect_head(model, TEXT, name, heads=[(1, 2)])
        found[f"{name}, one layer"] = detect_head(model, TEXT, name, heads={0: [0, 3]})
    tokens = model.to_tokens(TEXT)
    pattern = get_induction_head_detection_pattern(tokens.cpu())
    found["induction pattern"] = pattern
    found["by a pattern"] = detect_head(model, TEXT, pattern.to(model.cfg.device))
    _, cache = model.run_with_cache(tokens, remove_batch_dim=True)
    found["with a cache"] = detect_head(model, TEXT, "previous_token_head", cache=cache)
    found["to the first"] = detect_head(model, TEXT, first_column(tokens.shape[-1]), exclude_bos=False)
    return found


def first_column(length):
    """Ones where every query looks at the first key."""
    pattern = torch.zeros(length, length)
    pattern[:, 0] = 1
    return torch.tril(pattern)
