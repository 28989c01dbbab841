import pytest
import torch
from torch import nn
from torch.testing import assert_close

from models.hook_point import recording
from models.norms import NoNorm, make_norm
from tests.conftest import order_one, order_one_model, random_tokens, small_config

KINDS = ["LN", "LNPre", "RMS", "RMSPre", "ScaleNorm"]


def drawn(kind, seed=0, **changes):
    """A norm with weights of order one and an input that is neither centred nor of unit variance."""
    norm = order_one(make_norm(small_config(normalization_type=kind, **changes)), seed)
    x = 3 * torch.randn(3, 7, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 2
    return norm, x


@pytest.mark.parametrize("kind", KINDS)
def test_the_hooked_road_equals_the_fused_one_and_the_hooks_see_the_formula(kind):
    norm, x = drawn(kind)
    seen = {}
    readers = {point: lambda name, value, point=point: seen.update({point: value}) for point in norm.children()}
    fused = norm(x)
    with recording(readers):
        hooked = norm(x)
    assert_close(hooked, fused)
    assert_close(
        seen[norm.hook_normalized], (x - x.mean(-1, keepdim=True) if "LN" in kind else x) / seen[norm.hook_scale]
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_against_pytorchs_own_layers_and_the_papers_formula(kind, eps):
    norm, x = drawn(kind, eps=eps)
    match kind:
        case "LN" | "LNPre":
            reference = nn.LayerNorm(12, eps, elementwise_affine=kind == "LN", dtype=torch.float64)
            if kind == "LN":
                reference.load_state_dict({"weight": norm.w, "bias": norm.b})
        case "RMS" | "RMSPre":
            reference = nn.RMSNorm(12, eps, elementwise_affine=kind == "RMS", dtype=torch.float64)
            if kind == "RMS":
                reference.load_state_dict({"weight": norm.w})
        case "ScaleNorm":

            def reference(x):
                return norm.w * x / x.square().sum(-1, keepdim=True).sqrt()

    assert_close(norm(x), reference(x))


def test_scale_norm_starts_at_the_length_of_a_vector_of_unit_variance():
    norm = make_norm(small_config(normalization_type="ScaleNorm"))
    assert norm.w.tolist() == pytest.approx([12**0.5])
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_close(norm(x).norm(dim=-1), torch.full((5,), 12**0.5, dtype=torch.float64))


def test_scale_norm_of_nothing_is_nothing():
    norm, _ = drawn("ScaleNorm")
    assert norm(torch.zeros(1, 1, 12, dtype=torch.float64)).tolist() == [[[0.0] * 12]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sixteen_bit_norm_sums_squares_in_thirty_two(kind):
    # 12 numbers of 300 have squares of 90,000, beyond float16's 65,504.
    norm, _ = drawn(kind)
    norm.half()
    x = torch.linspace(250, 300, 12, dtype=torch.float16)[None, None]
    seen = {}
    with recording({norm.hook_scale: lambda name, value: seen.update(scale=value)}):
        hooked = norm(x)
    fused = norm(x)
    assert hooked.dtype == fused.dtype == torch.float16
    assert seen["scale"].dtype == torch.float32
    assert hooked.isfinite().all()
    precise, _ = drawn(kind)
    assert_close(hooked.double(), precise(x.double()), rtol=2e-2, atol=2e-2)
    assert_close(fused.double(), precise(x.double()), rtol=2e-2, atol=2e-2)


def test_no_norm_is_the_identity_without_parameters_or_points():
    norm = make_norm(small_config(normalization_type=None))
    x = torch.ones(1, 2, 12)
    assert isinstance(norm, NoNorm)
    assert norm(x) is x
    assert not list(norm.parameters())
    assert not list(norm.children())


def test_editing_the_scale_divides_what_is_read():
    model, tokens, name = order_one_model(), random_tokens(), "blocks.0.ln1.hook_normalized"
    _, plain = model.run_with_cache(tokens, names_filter=name)
    with model.hooks(fwd_hooks=[("blocks.0.ln1.hook_scale", lambda scale, hook: 2 * scale)]):
        _, edited = model.run_with_cache(tokens, names_filter=name)
    assert_close(2 * edited[name], plain[name])
