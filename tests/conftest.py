"""What several test files share: small configurations with pairwise different sizes, and weights of order one."""

from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings

from models import HookedTransformer, HookedTransformerConfig

# On models this small a second thread is only waited for: on a busy machine the tests take up to twenty times longer.
torch.set_num_threads(1)

# No test is timed: an example that a busy machine makes slow is not a failing one.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SHARED = Path(__file__).parents[2] / "shared"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The tests of a real model, which must be downloaded first, run only where they are asked for."""
    asked_for = any("real" in Path(argument).parts for argument in config.args)
    return True if collection_path.name == "real" and not asked_for else None


SMALL = {
    "n_layers": 2,
    "n_heads": 4,
    "d_model": 12,
    "d_head": 6,
    "d_mlp": 20,
    "d_vocab": 17,
    "n_ctx": 9,
    "act_fn": "gelu",
    "dtype": torch.float64,
    "device": "cpu",
}
"""Sizes that differ pairwise, so that a swapped pair of axes cannot pass unseen."""


def small_config(**changes: object) -> HookedTransformerConfig:
    """The small configuration with the given fields changed."""
    return HookedTransformerConfig(**{**SMALL, **changes})


def order_one(model: HookedTransformer, seed: int = 0) -> HookedTransformer:
    """The model with every parameter drawn around order one, biases and norm weights included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if name.endswith((".w",)) else 0.0
            parameter.copy_(mean + 0.5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model.eval()


def order_one_model(seed: int = 0, **changes: object) -> HookedTransformer:
    """A small model with weights of order one."""
    return order_one(HookedTransformer(small_config(**changes)), seed)


def random_tokens(batch: int = 3, length: int = 7, seed: int = 0, d_vocab: int = SMALL["d_vocab"]) -> torch.Tensor:
    """Tokens drawn uniformly."""
    return torch.randint(d_vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data, or a skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the reference data beside the repository (../shared) is not here")
    return SHARED


@pytest.fixture
def as_users_run_it():
    """Without the instrumentation of the tests, which would refuse a wrong shape or literal before the code sees it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
