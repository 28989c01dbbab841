"""What numbers a model is to be loaded in: a type or its name, checked before anything is read."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from models import HookedTransformer, compat
from models.errors import ConfigError
from models.loading.folder import save
from tests.conftest import order_one_model
from tests.models.loading.architectures import tiny

LOADERS = [
    HookedTransformer.from_pretrained,
    HookedTransformer.from_pretrained_no_processing,
    compat.HookedTransformer.from_pretrained,
]


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("name", ["float32", "torch.float32", "fp32"])
def test_a_type_is_given_or_named(load: Any, name: str, tmp_path: Path) -> None:
    save(order_one_model(), tmp_path)
    for source in (tmp_path, tiny("llama")):
        found = load(source, dtype=name, device="cpu")
        assert found.W_U.dtype == found.cfg.dtype == torch.float32
        assert torch.equal(found.W_U, load(source, dtype=torch.float32, device="cpu").W_U)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("wrong", ["float8", "int8", torch.int8, torch.complex64])
def test_a_type_that_models_do_not_compute_in_is_told_before_anything_is_read(load: Any, wrong: Any) -> None:
    load("stdlib-1h", dtype="bf16", device="cpu")
    with pytest.raises(ConfigError, match=re.escape(f"dtype={wrong!r} is not a floating-point type")):
        load("no/such/model", dtype=wrong)
