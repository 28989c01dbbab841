"""Every architecture against the same model of `transformers`, in float64: logits, streams, padding, generation."""

from pathlib import Path

import pytest
import torch

from models import HookedTransformer
from tests.models.loading.architectures import CASES, tiny
from tests.models.loading.comparison import compared


@pytest.mark.parametrize("case", CASES)
def test_a_converted_model_computes_what_transformers_computes(case: str, tmp_path: Path) -> None:
    theirs = tiny(case)
    theirs.save_pretrained(tmp_path)
    ours = HookedTransformer.from_pretrained_no_processing(tmp_path, device="cpu")
    assert ours.cfg.dtype == torch.float64
    found = compared(theirs, ours)
    assert found.logits < 1e-8
    assert found.streams < 1e-8
    assert found.padded < 1e-8
    assert found.generation_is_equal
