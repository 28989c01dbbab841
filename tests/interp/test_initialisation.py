import math

import pytest
import torch

from interp.initialisation import (
    expected_loss,
    freezing_point,
    log_partition,
    score_std,
    second_order_divergence,
    uniform_divergence,
    validity_limit,
)
from models import HookedTransformer, initialise
from models.one_head import one_head

EIGHT_KEYS = torch.ones(8, 8).tril().bool()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def normalised(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.layer_norm(normal(*shape, seed=seed), shape[-1:], eps=0.0)


def test_the_entropy_gap_is_the_divergence_from_uniform():
    pattern = normal(2, 3, 8, 8).masked_fill(~EIGHT_KEYS, -torch.inf).softmax(-1)
    gap = uniform_divergence(pattern, EIGHT_KEYS)
    for row in range(8):
        seen = pattern[..., row, : row + 1]
        expected = (seen * (seen / (1 / (row + 1))).log()).sum(dim=-1)
        torch.testing.assert_close(gap[..., row], expected)
    torch.testing.assert_close(
        uniform_divergence((EIGHT_KEYS / EIGHT_KEYS.sum(-1, keepdim=True)).double()[None, None], EIGHT_KEYS),
        torch.zeros(1, 1, 8, dtype=torch.float64),
    )


@pytest.mark.parametrize("d_head", [4, 24])
def test_the_score_has_the_predicted_spread_whatever_the_head_size(d_head):
    d_model, weight_std, n_draws = 32, 0.3, 4000
    x = normalised(2, d_model)
    W_Q, W_K = weight_std * normal(2, n_draws, d_model, d_head, seed=1)
    scores = ((x[0] @ W_Q) * (x[1] @ W_K)).sum(dim=-1) / math.sqrt(d_head)
    predicted = score_std(weight_std, d_model)
    # The fourth moment of a score is at most 9 sigma^4, so its variance is known to sqrt(8 / 4000) = 4.5 %.
    assert abs(float(scores.var()) / predicted**2 - 1) < 3 * 0.045


def test_the_divergence_is_half_the_variance_of_the_scores_averaged_over_weights():
    d_model, d_head, n_draws = 16, 5, 4000
    x = normal(1, 8, d_model) + 0.5
    W_Q, W_K = 0.2 * normal(n_draws, d_model, d_head, seed=1), 0.1 * normal(n_draws, d_model, d_head, seed=2)
    scores = (x @ W_Q) @ (x @ W_K).mT / 3.0
    predicted = second_order_divergence(x, EIGHT_KEYS, 0.2, 0.1, gain=d_head / 3.0**2)[0]
    for row in (1, 4, 7):
        halves = scores[:, row, : row + 1].var(dim=-1, correction=0) / 2
        assert abs(float(halves.mean()) - float(predicted[row])) < 4 * float(halves.std()) / math.sqrt(n_draws)
    assert float(predicted[0]) == pytest.approx(0, abs=1e-12)


def test_independent_inputs_give_the_textbook_limit():
    # 1/2 sigma^2 (n - 1) / n, over many draws of independent inputs.
    d_model, weight_std = 64, 0.05
    predicted = second_order_divergence(normalised(2000, 8, d_model), EIGHT_KEYS, weight_std, weight_std).mean(dim=0)
    n = torch.arange(1, 9, dtype=torch.float64)
    expected = 0.5 * score_std(weight_std, d_model) ** 2 * (n - 1) / n
    torch.testing.assert_close(predicted, expected, rtol=5e-3, atol=1e-12)


def divergences(scheme: str, n_seeds: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Measured and predicted KL of the one-head model, by seed, averaged over prompts and the rows with two keys up."""
    model = HookedTransformer(one_head(d_vocab=503, device="cpu", dtype=torch.float64, init_weights=False))
    measured, predicted = [], []
    for seed in range(n_seeds):
        generator = torch.Generator().manual_seed(seed)
        initialise(model, scheme, generator)
        tokens = torch.randint(503, (16, 8), generator=generator)
        names = ["blocks.0.attn.hook_pattern", "blocks.0.ln1.hook_normalized"]
        _, cache = model.run_with_cache(tokens, names_filter=names, stop_at_layer=1)
        attention = model.blocks[0].attn
        stds = [weight.detach().square().mean().sqrt().item() for weight in (attention.W_Q, attention.W_K)]
        measured.append(uniform_divergence(cache[names[0]], EIGHT_KEYS)[..., 1:].mean())
        predicted.append(second_order_divergence(cache[names[1]], EIGHT_KEYS, *stds)[:, 1:].mean())
    return torch.stack(measured), torch.stack(predicted)


@pytest.mark.parametrize(
    ("scheme", "published_measured", "published_predicted"),
    [("gpt2", 2.44e-4, 2.40e-4), ("linear", 0.0407, 0.0408), ("xavier", 0.275, 0.368)],
)
def test_the_reference_numbers_of_attention_at_initialisation(scheme, published_measured, published_predicted):
    # d_model = d_head = 64, eight positions, rows of two to eight keys. The references are rounded to three digits
    # and carry the error of their own draws, which is not published: 3 % is allowed on top of ours.
    measured, predicted = divergences(scheme)
    error = 3 * float(measured.std()) / math.sqrt(len(measured))
    assert abs(float(measured.mean()) - published_measured) < error + 0.03 * published_measured
    assert abs(float(predicted.mean()) / published_predicted - 1) < 0.02
    ratio = float(predicted.mean() / measured.mean())
    assert ratio > 1.2 if scheme == "xavier" else abs(ratio - 1) < 0.1


def test_the_formula_overshoots_where_it_is_said_to():
    limit = validity_limit(64, tolerance=0.1)
    scores = normal(5000, 64, seed=9)
    for sigma, inside in ((0.8 * limit, True), (1.2 * limit, False)):
        pattern = (sigma * scores).softmax(dim=-1)
        measured = (math.log(64) - torch.special.entr(pattern).sum(-1)).mean()
        ratio = float(0.5 * sigma**2 * 63 / 64 / measured)
        assert (ratio < 1.1) == inside
    assert limit < freezing_point(64) == math.sqrt(2 * math.log(64))


@pytest.mark.parametrize("variance", [0.0, 0.5, 4.0, 60.0])
def test_the_log_partition_is_that_of_normal_logits_on_both_sides_of_freezing(variance):
    d_vocab, n_draws = 20000, 100
    drawn = (variance**0.5 * normal(n_draws, d_vocab)).logsumexp(dim=-1)
    error = float(drawn.std()) / math.sqrt(n_draws)
    predicted = log_partition(d_vocab, variance)
    assert abs(float(drawn.mean()) - predicted) < 4 * error + 1e-9
    closed_form = math.log(d_vocab) + variance / 2
    assert (predicted == pytest.approx(closed_form, rel=1e-3)) == (variance < 2 * math.log(d_vocab))


def test_the_log_partition_of_one_logit_is_its_mean():
    assert log_partition(1, 7.0) == pytest.approx(0, abs=1e-9)
    assert log_partition(3, 0.0) == pytest.approx(math.log(3))


def test_the_own_token_adds_what_one_more_logit_adds():
    partition = expected_loss(500, 1.0)
    assert partition == log_partition(500, 1.0)
    own = torch.tensor([-50.0, 20.0], dtype=torch.float64)
    low, high = (expected_loss(500, 1.0, own[i : i + 1]) for i in range(2))
    assert low == pytest.approx(partition)
    assert high == pytest.approx(partition + math.log(1 + math.exp(20 - partition)))
    assert expected_loss(500, 1.0, own) == pytest.approx((low + high) / 2)


def initial_loss(std: float, final_norm: bool, n_seeds: int) -> torch.Tensor:
    """The mean loss on a target drawn uniformly, without the target's noise: logsumexp less the mean logit."""
    config = one_head(device="cpu", final_norm=final_norm, init_weights=False)
    model = HookedTransformer(config)
    losses = []
    for seed in range(n_seeds):
        generator = torch.Generator().manual_seed(seed)
        initialise(model, "xavier" if std == 1.0 else "gpt2", generator, std=std)
        tokens = torch.randint(config.d_vocab, (4, 8), generator=generator)
        with torch.no_grad():
            logits = model(tokens).double()
        losses.append((logits.logsumexp(dim=-1) - logits.mean(dim=-1)).mean())
    return torch.stack(losses)


@pytest.mark.parametrize(("final_norm", "published"), [(True, 10.8377), (False, 10.8249)])
def test_the_reference_numbers_of_the_loss_at_initialisation(final_norm, published):
    d_vocab, d_model, std = 50257, 64, 0.02
    losses = initial_loss(std, final_norm, n_seeds=3)
    # Without the norm the stream itself has entries of about 0.028, and the logits hardly vary: ln V.
    assert expected_loss(d_vocab, d_model * std**2 if final_norm else 0.0) == pytest.approx(published, abs=5e-5)
    # eps lowers the variance of the norm's output by 1.2 %, of 0.0128 nats: 1e-4; sampling adds as much.
    assert float(losses.mean()) == pytest.approx(published, abs=4e-4)


def test_embeddings_of_unit_variance_give_a_loss_far_above_ln_V():
    # The reference measures 41.7 for nn.Embedding's default; ln V is 10.8. The token's own logit makes it: of the
    # stream's variance a part 1 / (1 + 1 + 0.34) is its embedding (position, attention over 1 to 8 tokens).
    losses = initial_loss(1.0, True, n_seeds=8)
    error = float(losses.std()) / math.sqrt(8)
    assert abs(float(losses.mean()) - 41.7) < 4 * error
    own = torch.tensor([64 / math.sqrt(1 + 1 + 1 / n) for n in range(1, 9)])
    assert abs(float(losses.mean()) - expected_loss(50257, 64.0, own)) < 4 * error
    # Outside its range the closed form for small variance says something else.
    assert 2 * math.log(50257) < 64


def test_uniform_causal_attention_has_the_spectrum_and_the_decay_of_theory():
    # Queries of zero make every row uniform: a lower triangle with diagonal 1/i, whose eigenvalues are its diagonal.
    model = HookedTransformer(one_head(d_vocab=23, n_ctx=16, device="cpu", dtype=torch.float64, seed=0))
    model.blocks[0].attn.W_Q.data.zero_()
    tokens = torch.randint(23, (1, 16), generator=torch.Generator().manual_seed(0))
    pattern = model.run_with_cache(tokens)[1]["blocks.0.attn.hook_pattern"][0, 0]
    eigenvalues = torch.linalg.eigvals(pattern).real.sort(descending=True).values
    torch.testing.assert_close(eigenvalues, 1 / torch.arange(1, 17, dtype=torch.float64), atol=1e-6, rtol=0)
    # All tokens go to the first: by 1/2 a layer without the skip, by (1 + 1/2) / (1 + 1) = 3/4 with it.
    skip = torch.eye(16, dtype=torch.float64)
    for layer, rate, tolerance in ((pattern, 0.5, 1e-3), (skip + pattern, 0.75, 0.01)):
        x, ratios = normal(16, 5), []
        for _ in range(40):
            x = layer @ x
            ratios.append(float((x - x.mean(dim=0)).norm() / x.norm()))
        assert ratios[-1] / ratios[-2] == pytest.approx(rate, abs=tolerance)
