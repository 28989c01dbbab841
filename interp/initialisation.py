"""What theory says of a transformer with random weights: how uniform its attention is, and what its loss is.

Every closed form here has a range in which it holds; each function says what it is.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def uniform_divergence(
    pattern: Float[Tensor, "batch head query key"], visible: Bool[Tensor, "*#batch_head query key"]
) -> Float[Tensor, "batch head query"]:
    """KL(row || uniform over the keys the query sees) in nats, which is the entropy gap ln n - H(row)."""
    n_keys = visible.sum(dim=-1)
    return n_keys.to(pattern.dtype).log() - torch.special.entr(pattern).sum(dim=-1)


def score_std(weight_std: float, d_model: int) -> float:
    """The standard deviation of a score x_i W_Q W_K^T x_j / sqrt(d_head) over random weights: weight_std^2 d_model.

    For inputs normalised to |x|^2 = d_model. It does not depend on d_head, which the scale takes out: E s^2 =
    weight_std^4 |x_i|^2 |x_j|^2.
    """
    return weight_std**2 * d_model


def second_order_divergence(
    inputs: Float[Tensor, "batch pos d_model"],
    visible: Bool[Tensor, "*#batch query key"],
    query_std: float,
    key_std: float,
    gain: float = 1.0,
) -> Float[Tensor, "batch query"]:
    """The expected KL of each row from uniform, in nats, over random query and key matrices, to second order.

    1/2 query_std^2 key_std^2 |x_i|^2 mean_j |x_j - mean x|^2, j over the keys that query i sees: half the variance of
    the row's scores. It holds while that variance is small against 1, and overshoots beyond (see `validity_limit`).
    For independent inputs of length sqrt(d_model) it is 1/2 sigma^2 (n - 1) / n with sigma of `score_std`.

    Biases must be zero, and rotary positions are left out: they turn the keys, which matters only as far as the
    inputs at different positions are alike.

    Args:
        inputs: what the query and key matrices multiply: the stream behind the norm.
        gain: d_head / scale^2, which is 1 for the usual scale sqrt(d_head).
    """
    uniform = visible.to(inputs.dtype)
    uniform = uniform / uniform.sum(dim=-1, keepdim=True)
    squares = inputs.square().sum(dim=-1)
    mean_square = (uniform @ squares[..., None]).squeeze(-1)
    square_of_mean = (uniform @ inputs).square().sum(dim=-1)
    return 0.5 * gain * (query_std * key_std) ** 2 * squares * (mean_square - square_of_mean)


def freezing_point(n_keys: int) -> float:
    """The score's standard deviation beyond which a row is held by its few largest scores: sqrt(2 ln n).

    Source: Derrida (1981), "Random-energy model"; Giorlandino and Goldt (2025) for attention.
    """
    return math.sqrt(2 * math.log(n_keys))


def validity_limit(
    n_keys: int, tolerance: float = 0.1, generator: torch.Generator | None = None, n_rows: int = 4096
) -> float:
    """The score's standard deviation up to which 1/2 sigma^2 (n - 1) / n is within the tolerance of the true KL.

    Found by bisection on rows of independent normal scores, the same draws at every step.

    Args:
        generator: draws the scores; by default one seeded with 0.
    """
    generator = generator or torch.Generator().manual_seed(0)
    scores = torch.randn(n_rows, n_keys, generator=generator, dtype=torch.float64)
    # Each draw's own variance in place of its expectation: the noise of the draws then falls out of the ratio.
    variance = scores.var(dim=-1, correction=0).mean()
    low, high = 0.0, 2 * freezing_point(n_keys)
    for _ in range(30):
        sigma = (low + high) / 2
        pattern = (sigma * scores).softmax(dim=-1)
        measured = (math.log(n_keys) - torch.special.entr(pattern).sum(dim=-1)).mean()
        predicted = 0.5 * sigma**2 * variance
        low, high = (sigma, high) if bool(predicted <= (1 + tolerance) * measured) else (low, sigma)
    return low


def log_partition(d_vocab: int, logit_variance: float) -> float:
    """The expected logsumexp of d_vocab independent N(0, v) logits, for any v, to rounding.

    It is ln V + v / 2 to a good approximation while v < 2 ln V. Beyond, the few largest logits hold it, and it grows
    with sqrt(2 v ln V) only (Derrida, 1981).

    By E ln Z = integral over u of exp(-e^u) - E[exp(-e^(u + logit))]^V, both integrals by the trapezoidal rule.
    """
    std, step = math.sqrt(logit_variance), 0.25
    z = torch.linspace(-9, 9, 1801, dtype=torch.float64)
    density = (-z.square() / 2).exp()
    density = density / density.sum()
    # Outside, the integrand is below rounding for the logits within nine standard deviations.
    u = torch.arange(-9 * std - math.log(d_vocab) - 37, 9 * std + 6, step, dtype=torch.float64)
    # 1 - E[...] rather than the expectation itself, which at small u differs from 1 by less than rounding.
    missing = (-torch.expm1(-torch.exp(u[:, None] + std * z)) @ density).clamp(max=1)
    return float(torch.trapezoid(torch.exp(-u.exp()) - torch.exp(d_vocab * torch.log1p(-missing)), dx=step))


def expected_loss(d_vocab: int, logit_variance: float, own_logit: Float[Tensor, "..."] | None = None) -> float:
    """The expected next-token loss of random logits in nats: `log_partition`, and the token's own logit where given.

    A tied unembedding points back at the token that was read, so its logit is not random: it adds
    ln(1 + exp(own_logit - log_partition)). With a final norm and unembedding entries of standard deviation s the
    variance is d_model s^2, so the loss is ln V + d_model s^2 / 2 and not ln V.

    Args:
        own_logit: the logits of tokens at their own positions, relative to the mean of the logits there.
    """
    partition = log_partition(d_vocab, logit_variance)
    if own_logit is None:
        return partition
    return float(torch.logaddexp(torch.full_like(own_logit, partition), own_logit).mean())
