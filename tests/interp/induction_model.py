"""Two layers of heads whose weights are written down by hand: the first looks one token back, the second copies what
followed. Beside each stands a head of zeros, which attends evenly and writes nothing."""

import torch

from models import HookedTransformer, HookedTransformerConfig


def induction_model(d_vocab: int = 7, n_ctx: int = 12, sharpness: float = 60.0, loudness: float = 12.0):
    """The stream holds, side by side: token, position, the token before, and what is to come, each one-hot."""
    config = HookedTransformerConfig(
        n_layers=2, n_heads=2, d_model=3 * d_vocab + n_ctx, d_head=max(d_vocab, n_ctx), d_vocab=d_vocab, n_ctx=n_ctx,
        attn_only=True, normalization_type=None, use_attn_scale=False, dtype=torch.float64, device="cpu",
    )  # fmt: skip
    model = HookedTransformer(config).eval()
    for parameter in model.parameters():
        parameter.data.zero_()
    token, position = slice(0, d_vocab), slice(d_vocab, d_vocab + n_ctx)
    before = slice(position.stop, position.stop + d_vocab)
    to_come = slice(before.stop, before.stop + d_vocab)
    one = torch.eye(max(d_vocab, n_ctx), dtype=torch.float64)
    words, places = one[:d_vocab, :], one[:n_ctx, :]
    model.embed.W_E.data[:, token] = words[:, :d_vocab]
    model.pos_embed.W_pos.data[:, position] = places[:, :n_ctx]
    first, second = (block.attn for block in model.blocks)
    # Position i asks for position i - 1; the first has nothing before it and sees itself alone.
    first.W_Q.data[0, position] = sharpness * places.roll(1, dims=0)
    first.W_Q.data[0, position.start] = 0
    first.W_K.data[0, position] = places
    _copies(first, token, before, words, 1.0)
    second.W_Q.data[0, token] = sharpness * words
    second.W_K.data[0, before] = words
    _copies(second, token, to_come, words, loudness)
    model.unembed.W_U.data[to_come] = words[:, :d_vocab]
    return model


def _copies(attention, source, target, words, scale):
    attention.W_V.data[0, source] = words
    attention.W_O.data[0, :, target] = scale * words.T
