"""Checkpoints of nanoGPT against a plain GPT written from the formulas, and what is no checkpoint of nanoGPT's."""

import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from models.errors import CheckpointError
from models.loading.foreign import load_nanogpt
from tests.models.loading.test_pickle import Trap
from tests.models.word_tokenizer import word_tokenizer

ARGS = {"n_layer": 2, "n_head": 3, "n_embd": 12, "block_size": 9, "vocab_size": 17, "dropout": 0.1, "bias": True}
TOKENS = torch.randint(17, (3, 7), generator=torch.Generator().manual_seed(1))


def norm(width, bias):
    return nn.LayerNorm(width, eps=1e-5, bias=bias)


class Block(nn.Module):
    def __init__(self, width, bias):
        super().__init__()
        self.ln_1, self.ln_2 = norm(width, bias), norm(width, bias)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.c_attn, self.attn.c_proj = nn.Linear(width, 3 * width, bias), nn.Linear(width, width, bias)
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(width, 4 * width, bias), nn.Linear(4 * width, width, bias)

    def forward(self, x, n_heads, approximate):
        q, k, v = (part.unflatten(-1, (n_heads, -1)) for part in self.attn.c_attn(self.ln_1(x)).chunk(3, -1))
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
        x = x + self.attn.c_proj(torch.einsum("bhqk,bkhe->bqhe", scores.softmax(-1), v).flatten(-2))
        return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)), approximate=approximate))


class PlainGPT(nn.Module):
    """The model of nanoGPT, with its names."""

    def __init__(self, bias=True, tied=True):
        super().__init__()
        width = ARGS["n_embd"]
        blocks = nn.ModuleList(Block(width, bias) for _ in range(ARGS["n_layer"]))
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(ARGS["vocab_size"], width),
                "wpe": nn.Embedding(ARGS["block_size"], width),
                "h": blocks,
                "ln_f": norm(width, bias),
            }
        )
        self.lm_head = nn.Linear(width, ARGS["vocab_size"], bias=False)
        if tied:
            self.lm_head.weight = self.transformer["wte"].weight
        generator = torch.Generator().manual_seed(0)
        for parameter in self.double().parameters():
            parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

    @torch.no_grad()
    def forward(self, tokens, approximate="none"):
        part = self.transformer
        x = part["wte"](tokens) + part["wpe"](torch.arange(tokens.shape[1]))
        for block in part["h"]:
            x = block(x, ARGS["n_head"], approximate)
        return self.lm_head(part["ln_f"](x))


def saved(path, model, prefix="", args=None, **more):
    state = {prefix + name: value for name, value in model.state_dict().items()} | more
    loss = torch.tensor(1.5)
    content = {"model": state, "model_args": args or ARGS, "iter_num": 10, "best_val_loss": loss, "config": {"lr": 0.1}}
    torch.save(content, path)
    return path


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_a_checkpoint_computes_what_the_formulas_say(tmp_path, bias, tied, prefix):
    plain = PlainGPT(bias, tied)
    ours = load_nanogpt(saved(tmp_path / "ckpt.pt", plain, prefix, ARGS | {"bias": bias}), device="cpu")
    assert ours.cfg.dtype == torch.float64
    assert ours.cfg.tie_word_embeddings is tied
    assert_close(ours(TOKENS), plain(TOKENS))


def test_old_checkpoints_have_another_activation_and_stored_masks(tmp_path):
    plain = PlainGPT()
    mask = torch.ones(9, 9).tril()[None, None]
    masks = {f"transformer.h.{layer}.attn.bias": mask for layer in range(2)}
    old = {name: value for name, value in ARGS.items() if name != "bias"}
    path = saved(tmp_path / "ckpt.pt", plain, args=old, **masks)
    ours = load_nanogpt(path, word_tokenizer(), device="cpu")
    assert_close(ours(TOKENS), plain(TOKENS, "tanh"))
    assert ours.to_tokens("the cat").shape == (1, 3)
    assert_close(load_nanogpt(path, act_fn="gelu", device="cpu")(TOKENS), plain(TOKENS))
    # Those of the next months have biases as an option and the old activation: they do not say so.
    path = saved(tmp_path / "between.pt", plain, **masks)
    assert_close(load_nanogpt(path, act_fn="gelu_new", device="cpu")(TOKENS), plain(TOKENS, "tanh"))
    with pytest.raises(AssertionError):
        assert_close(load_nanogpt(path, device="cpu")(TOKENS), plain(TOKENS, "tanh"))


def test_a_variant_of_nanogpt_is_refused_by_its_option(tmp_path):
    path = tmp_path / "ckpt.pt"
    load_nanogpt(saved(path, PlainGPT(), args=ARGS | {"use_rmsnorm": False}), device="cpu")
    with pytest.raises(CheckpointError, match="model_args has use_rmsnorm, which nanoGPT does not know"):
        load_nanogpt(saved(path, PlainGPT(), args=ARGS | {"use_rmsnorm": True}))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"n_head": 5}, "n_embd=12 is not a multiple of n_head=5"),
        ({"n_layer": 3}, r"missing transformer\.h\.2\."),
        ({"n_layer": 1}, r"without a place transformer\.h\.1\."),
        ({"n_embd": 24}, r"wte\.weight has shape \[17, 12\]; the config asks for \[17, 24\]"),
        ({"bias": False}, "bias, and its model_args say bias=False"),
        ({"vocab_size": None}, "must give vocab_size as positive numbers"),
        ({"n_layer": 0}, "must give n_layer as positive numbers"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(tmp_path, args, message):
    load_nanogpt(saved(tmp_path / "ckpt.pt", PlainGPT()), device="cpu")
    with pytest.raises(CheckpointError, match=message):
        load_nanogpt(saved(tmp_path / "ckpt.pt", PlainGPT(), args=ARGS | args))


def test_a_checkpoint_without_the_biases_it_announces_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"missing .*bias"):
        load_nanogpt(saved(tmp_path / "ckpt.pt", PlainGPT(bias=False)))


def test_numbers_that_are_none_are_refused_with_the_name_of_the_weight(tmp_path):
    plain = PlainGPT()
    plain.transformer["h"][1].mlp.c_fc.weight.data[random.Random(0).randrange(40), 2] = torch.inf
    with pytest.raises(CheckpointError, match=r"h\.1\.mlp\.c_fc\.weight has 1 of 576 numbers that are not finite"):
        load_nanogpt(saved(tmp_path / "ckpt.pt", plain))


def test_code_in_a_checkpoint_is_not_executed(tmp_path):
    path = saved(tmp_path / "ckpt.pt", PlainGPT())
    load_nanogpt(path, device="cpu")
    content = torch.load(path, weights_only=True) | {"config": Trap(tmp_path / "executed")}
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="none of it was executed"):
        load_nanogpt(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (PlainGPT().state_dict(), r"a dictionary with the entries 'transformer\.wte\.weight'"),
        ({"model": {"a": 1}, "model_args": {}}, "'model', 'model_args'; a checkpoint of nanoGPT has 'model', its"),
        ([1], "a list"),
    ],
)
def test_another_file_of_pytorch_is_described(tmp_path, content, found):
    torch.save(content, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match=found):
        load_nanogpt(tmp_path / "ckpt.pt")


@pytest.mark.parametrize("length", [0, 400, -30])
def test_a_file_that_is_cut_off_is_refused(tmp_path, length):
    path = saved(tmp_path / "ckpt.pt", PlainGPT())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"ckpt\.pt"):
        load_nanogpt(path)
