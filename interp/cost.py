"""What a forward pass costs, in closed form: a part that grows with the number of positions and one with its square."""

from dataclasses import dataclass
from typing import Any

from .protocol import HookedModel
from .sites import Site, sites


@dataclass(frozen=True)
class Cost:
    """A cost a T + b T^2 of a prompt of T positions, in operations or bytes.

    Attributes:
        by_position: a.
        by_pair: b; every query with every key, masked pairs included, because they are computed too.
    """

    by_position: int
    by_pair: int

    def at(self, n_positions: int) -> int:
        """The cost of a prompt of that length."""
        return self.by_position * n_positions + self.by_pair * n_positions**2

    @property
    def crossover(self) -> float:
        """The length at which both parts are equal."""
        return self.by_position / self.by_pair


def forward_flops(cfg: Any) -> Cost:
    """The floating-point operations of the matrix products of one forward pass: 2 for each product of two numbers.

    Norms, activation functions, softmax, biases and look-ups are left out: they are no matrix products, and few.
    Source: Kaplan et al. (2020), section 2.1, with the unembedding and the whole square of attention counted.
    """
    groups = cfg.n_heads if cfg.ungroup_grouped_query_attention else cfg.n_key_value_heads or cfg.n_heads
    reading = cfg.d_model * cfg.d_head * (cfg.n_heads + 2 * groups)
    writing = cfg.n_heads * cfg.d_head * cfg.d_model
    mlp = 0 if cfg.attn_only else cfg.d_model * cfg.d_mlp * (3 if cfg.gated_mlp else 2)
    by_pair = 2 * cfg.n_heads * cfg.d_head
    return Cost(
        by_position=2 * (cfg.n_layers * (reading + writing + mlp) + cfg.d_model * cfg.d_vocab_out),
        by_pair=2 * cfg.n_layers * by_pair,
    )


def cache_bytes(model: HookedModel) -> Cost:
    """The bytes of everything that `run_with_cache` keeps of one prompt: each point's numbers times their size.

    Scores and patterns, one number for each head, query and key, are the part with the square.
    """
    by_position, by_pair = 0, 0
    for site in sites(model, "**"):
        size = _bytes_of_a_number(site, model.cfg)
        for axis_size in site.sizes:
            size *= axis_size or 1
        if "query" in site.axes:
            by_pair += size
        else:
            by_position += size
    return Cost(by_position, by_pair)


def _bytes_of_a_number(site: Site, cfg: Any) -> int:
    if site.name == "hook_tokens":
        return 8
    # Norms of 16-bit streams are computed in 32 bits, where sums of squares do not overflow.
    in_a_norm = site.name.endswith(("hook_scale", "hook_normalized"))
    return max(4, cfg.dtype.itemsize) if in_a_norm else cfg.dtype.itemsize
