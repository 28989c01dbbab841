import math

import pytest
import torch
from transformer_lens import FactoredMatrix
from transformer_lens.utilities import composition_scores as composition_scores_of_transformer_lens

from interp.weights import bias_terms, composition_scores, copying_scores

from ..conftest import order_one_model, random_tokens


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def heads(n: int, d_model: int, d_head: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return normal(n, d_model, d_head, seed=seed), normal(n, d_head, d_model, seed=seed + 100)


def rotations(n: int, size: int) -> torch.Tensor:
    # The signs make the decomposition unique, and with it the orthogonal factor Haar-distributed (Mezzadri, 2007).
    q, r = torch.linalg.qr(normal(n, size, size, seed=7))
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]


def test_the_copying_score_is_that_of_the_dense_circuit():
    W_E, W_U = normal(13, 6), normal(6, 13, seed=1)
    W_V, W_O = heads(2, 6, 3, seed=2)
    scores = copying_scores(W_E, W_V, W_O, W_U)
    for head in range(2):
        dense = W_E @ W_V[head] @ W_O[head] @ W_U
        eigenvalues = torch.linalg.eigvals(dense)
        torch.testing.assert_close(scores.score[head], eigenvalues.sum().real / eigenvalues.abs().sum())
        departure = (1 - eigenvalues.abs().square().sum() / dense.square().sum()).sqrt()
        torch.testing.assert_close(scores.departure_from_normality[head], departure)
    torch.testing.assert_close(scores.z, scores.score / scores.null_std)


def test_a_head_that_returns_what_it_reads_copies_perfectly():
    W_E = normal(13, 6)
    W_V = normal(2, 6, 3, seed=1)
    copier = copying_scores(W_E, W_V, W_V.mT, W_E.T)
    torch.testing.assert_close(copier.score, torch.ones(2, dtype=torch.float64))
    eraser = copying_scores(W_E, W_V, -W_V.mT, W_E.T)
    torch.testing.assert_close(eraser.score, -torch.ones(2, dtype=torch.float64))
    # W_E W_V W_V^T W_E^T is symmetric, hence normal.
    assert float(copier.departure_from_normality.max()) < 1e-6


@pytest.mark.parametrize("tied", [True, False])
def test_the_null_of_the_copying_score_is_that_of_random_heads(tied):
    n_heads, d_head = 800, 8
    W_E = normal(40, 2 * d_head)
    W_V, W_O = heads(n_heads, 2 * d_head, d_head, seed=5)
    scores = copying_scores(W_E, W_V, W_O, W_E.T if tied else normal(2 * d_head, 40, seed=1), n_null=800)
    assert abs(float(scores.score.mean())) < 4 * scores.null_std / math.sqrt(n_heads)
    # Two spreads from 800 draws each: each is known to 1 / sqrt(1600) = 2.5 %.
    assert abs(float(scores.score.std()) / scores.null_std - 1) < 0.15
    # The closed form 1.5 / d_head is well below it at these sizes ...
    assert scores.null_std > 1.15 * 1.5 / d_head


def test_the_null_of_the_copying_score_tends_to_its_closed_form():
    # ... and is right where d_model is much larger than d_head and the embeddings are a frame.
    identity = torch.eye(160, dtype=torch.float64)
    scores = copying_scores(identity, *heads(1, 160, 8, seed=5), identity, n_null=2000)
    assert abs(scores.null_std / (1.5 / 8) - 1) < 0.08


def test_circuit_statistics_do_not_depend_on_how_the_circuit_is_factored():
    W_E, W_U = normal(13, 6), normal(6, 13, seed=1)
    W_V, W_O = heads(2, 6, 3, seed=2)
    W_Q, W_K = heads(2, 6, 3, seed=9)[0], heads(2, 6, 3, seed=10)[0]
    gauge, other = normal(2, 3, 3, seed=20), normal(2, 3, 3, seed=21)
    before = copying_scores(W_E, W_V, W_O, W_U)
    after = copying_scores(W_E, W_V @ gauge, torch.linalg.inv(gauge) @ W_O, W_U)
    torch.testing.assert_close(after.score, before.score)
    torch.testing.assert_close(after.departure_from_normality, before.departure_from_normality)
    plain = composition_scores(W_V, W_O, W_Q, W_K.mT)
    turned = composition_scores(
        W_V @ gauge, torch.linalg.inv(gauge) @ W_O, W_Q @ other, torch.linalg.inv(other) @ W_K.mT
    )
    torch.testing.assert_close(turned.score, plain.score)
    torch.testing.assert_close(turned.z, plain.z)


@pytest.mark.parametrize("mode", ["Q", "K", "V"])
def test_composition_is_that_of_transformer_lens_and_of_the_dense_matrices(mode):
    model = order_one_model()
    W_Q, W_K, W_V, W_O = (getattr(model, name).detach() for name in ("W_Q", "W_K", "W_V", "W_O"))
    left, right = {"Q": (W_Q, W_K.mT), "K": (W_K, W_Q.mT), "V": (W_V, W_O)}[mode]
    ours = composition_scores(W_V[0], W_O[0], left[1], right[1])
    dense = (W_V[0] @ W_O[0])[:, None] @ (left[1] @ right[1])[None]
    norms = (W_V[0] @ W_O[0]).norm(dim=(-2, -1))[:, None] * (left[1] @ right[1]).norm(dim=(-2, -1))
    torch.testing.assert_close(ours.score, dense.norm(dim=(-2, -1)) / norms)
    theirs = composition_scores_of_transformer_lens(
        FactoredMatrix(W_V[0], W_O[0]), FactoredMatrix(left[1], right[1]), broadcast_dims=True
    )
    torch.testing.assert_close(ours.score, theirs)
    torch.testing.assert_close(ours.score, model.all_composition_scores(mode).detach()[0, :, 1, :])


@pytest.mark.parametrize(("d_model", "d_head"), [(8, 3), (12, 5)])
def test_mean_and_spread_of_the_baseline_are_those_of_random_turns(d_model, d_head):
    W_V, W_O = heads(1, d_model, d_head, seed=1)
    left, right = heads(1, d_model, d_head, seed=2)
    turns = rotations(3000, d_model)
    drawn = composition_scores(W_V, W_O, turns @ left, right.expand(3000, -1, -1))
    squares = drawn.score.square().flatten()
    standard_error = float(squares.std()) / math.sqrt(3000)
    assert abs(float(squares.mean()) - 1 / d_model) < 3 * standard_error
    assert drawn.baseline == 1 / math.sqrt(d_model)
    # z is (score^2 - 1/d) over the exact spread, so under the null it has mean 0 and spread 1.
    assert abs(float(drawn.z.std()) - 1) < 0.06
    # The spread of the score itself is first order in the spread of its square: 10 % at these small sizes.
    assert abs(float(drawn.score.std() / drawn.baseline_std.flatten()[0]) - 1) < 0.1
    torch.testing.assert_close(drawn.excess, drawn.score - 1 / math.sqrt(d_model))


def test_the_bias_terms_are_the_parts_of_the_score_and_only_one_of_them_moves_the_pattern():
    model, tokens = order_one_model(), random_tokens()
    attention = model.blocks[0].attn
    terms = bias_terms(*(getattr(attention, name).detach() for name in ("W_Q", "W_K", "W_O", "b_Q", "b_K", "b_V")))
    _, cache = model.run_with_cache(tokens)
    x = cache["blocks.0.ln1.hook_normalized"] * model.blocks[0].ln1.w + model.blocks[0].ln1.b
    bilinear = torch.einsum("bid,hde,hfe,bjf->bhij", x, attention.W_Q, attention.W_K, x)
    kept = torch.einsum("bjd,hd->bhj", x, terms.key_preference)[:, :, None, :]
    dropped = torch.einsum("bid,hd->bhi", x, terms.dropped)[..., None] + terms.constant[:, None, None]
    scale = math.sqrt(model.cfg.d_head)
    seen = torch.ones(7, 7).tril().bool()
    whole = (bilinear + kept + dropped) / scale
    torch.testing.assert_close(whole[..., seen].detach(), cache["blocks.0.attn.hook_attn_scores"][..., seen])
    without = ((bilinear + kept) / scale).masked_fill(~seen, -torch.inf).softmax(-1)
    torch.testing.assert_close(without.detach(), cache["blocks.0.attn.hook_pattern"])
    bare = (bilinear / scale).masked_fill(~seen, -torch.inf).softmax(-1)
    assert not torch.allclose(bare, without, atol=0.01)


def test_the_value_bias_is_written_wherever_a_head_looks():
    model, tokens = order_one_model(use_attn_result=True), random_tokens()
    attention = model.blocks[1].attn
    terms = bias_terms(*(getattr(attention, name).detach() for name in ("W_Q", "W_K", "W_O", "b_Q", "b_K", "b_V")))
    _, cache = model.run_with_cache(tokens)
    name = "blocks.1.attn.hook_result"
    before = cache[name]
    attention.b_V.data.zero_()
    after = model.run_with_cache(tokens)[1][name]
    torch.testing.assert_close(before - after, terms.written.expand_as(before))


def test_the_key_bias_has_no_gradient():
    model, tokens = order_one_model(), random_tokens()
    model(tokens, return_type="loss").backward()
    assert float(model.blocks[1].attn.b_K.grad.abs().max()) < 1e-14
    assert float(model.blocks[1].attn.b_Q.grad.abs().max()) > 1e-6


def test_a_heads_result_is_its_pattern_times_its_circuit_and_the_results_add_up():
    model, tokens = order_one_model(use_attn_result=True), random_tokens()
    attention = model.blocks[1].attn
    terms = bias_terms(*(getattr(attention, name).detach() for name in ("W_Q", "W_K", "W_O", "b_Q", "b_K", "b_V")))
    _, cache = model.run_with_cache(tokens)
    x = cache["blocks.1.ln1.hook_normalized"] * model.blocks[1].ln1.w + model.blocks[1].ln1.b
    moved = torch.einsum("bhij,bjd,hde,hef->bihf", cache["blocks.1.attn.hook_pattern"], x, attention.W_V, attention.W_O)
    results = cache["blocks.1.attn.hook_result"]
    torch.testing.assert_close((moved + terms.written).detach(), results)
    torch.testing.assert_close((results.sum(dim=2) + attention.b_O).detach(), cache["blocks.1.hook_attn_out"])
