"""Models from GGUF files: against the weights the files were written from, and against `transformers`' own reader."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    OlmoConfig,
    OlmoForCausalLM,
    Qwen2Config,
    Qwen3Config,
)
from transformers.integrations.gguf import dequant

from models import HookedTransformer
from models.errors import CheckpointError
from models.loading import gguf_types
from models.loading.converted import converted
from models.loading.gguf import read_gguf
from models.loading.gguf_file import open_gguf
from models.loading.gguf_types import block_of, dequantised

from .gguf_files import (
    D_VOCAB,
    GEMMA_2_NORMS,
    LLAMA,
    LLAMA_NORMS,
    gemma_tensors,
    gpt2_tensors,
    llama_fields,
    llama_tensors,
    neox_tensors,
    random_gpt2,
    random_llama,
    with_random_weights,
    write_gguf,
    write_llama,
)

TOKENS = torch.randint(D_VOCAB, (2, 11), generator=torch.Generator().manual_seed(1))


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """Every weight, by Hugging Face's name."""
    weights = read_gguf(path).weights
    # The config is not asked for the shapes: the tensors say their own.
    return {name: weights._read(name) for name in weights.remaining}


def assert_same_weights(path: Path, model: Any) -> None:
    # `transformers` keeps the name of GPT-NeoX's output in files only.
    names = {"lm_head.weight": "embed_out.weight"} if model.config.model_type == "gpt_neox" else {}
    expected = {names.get(name, name): weight for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del expected["lm_head.weight"]
    found = weights_of(path)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


def assert_same_logits(path: Path, model: Any) -> None:
    ours = converted(read_gguf(path), HookedTransformer, device="cpu")
    with torch.no_grad():
        expected = model(TOKENS).logits
        assert_close(ours(TOKENS), expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(
    "changes", [{}, {"tie_word_embeddings": True}, {"num_key_value_heads": 6}, {"attention_bias": True}]
)
def test_a_llama_comes_back_as_it_was(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = random_llama(**changes)
    path = write_llama(tmp_path / "tiny.gguf", model)
    assert_same_weights(path, model)
    assert_same_logits(path, model)


def test_the_order_of_rotary_pairs_matters(tmp_path: Path) -> None:
    model = random_llama()
    path = write_gguf(tmp_path / "tiny.gguf", "llama", llama_fields(model.config), llama_tensors(model, permuted=False))
    with pytest.raises(AssertionError):
        assert_same_logits(path, model)


@pytest.mark.parametrize(("config", "architecture"), [(Qwen2Config, "qwen2"), (Qwen3Config, "qwen3")])
def test_a_qwen_comes_back_as_it_was(tmp_path: Path, config: type, architecture: str) -> None:
    sizes = {name: size for name, size in LLAMA.items() if architecture == "qwen3" or name != "head_dim"}
    model = with_random_weights(AutoModelForCausalLM.from_config(config(**sizes, rope_theta=300.0)))
    tensors = llama_tensors(model, permuted=False)
    path = write_gguf(tmp_path / "tiny.gguf", architecture, llama_fields(model.config, architecture), tensors)
    assert ("blk.1.attn_q_norm.weight" if architecture == "qwen3" else "blk.1.attn_q.bias") in tensors
    assert_same_weights(path, model)
    assert_same_logits(path, model)


GEMMAS = [
    ("gemma", GemmaConfig, LLAMA_NORMS, {}, {}),
    (
        "gemma2",
        Gemma2Config,
        GEMMA_2_NORMS,
        {"sliding_window": 5, "attn_logit_softcapping": 7.0, "final_logit_softcapping": 11.0},
        {"attention.sliding_window": 5, "attn_logit_softcapping": 7.0, "final_logit_softcapping": 11.0},
    ),
    (
        "gemma3",
        Gemma3TextConfig,
        GEMMA_2_NORMS,
        {
            "num_hidden_layers": 7,
            "sliding_window": 5,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 300.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
        {"attention.sliding_window": 5, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    ),
]


@pytest.mark.parametrize(("architecture", "config", "norms", "settings", "more"), GEMMAS, ids=[g[0] for g in GEMMAS])
def test_a_gemma_comes_back_as_it_was(
    tmp_path: Path, architecture: str, config: type, norms: Any, settings: dict[str, Any], more: dict[str, Any]
) -> None:
    given = {"rope_theta": 300.0, "tie_word_embeddings": True, "query_pre_attn_scalar": LLAMA["head_dim"]}
    model = with_random_weights(AutoModelForCausalLM.from_config(config(**{**LLAMA, **given, **settings})))
    with torch.no_grad():
        # Scores of ordinary size: where softmax picks one key, rounding may pick another.
        model.model.embed_tokens.weight /= 16
    fields = llama_fields(model.config, architecture) | {
        f"{architecture}.{name}": value for name, value in more.items()
    }
    path = write_gguf(tmp_path / "tiny.gguf", architecture, fields, gemma_tensors(model, norms))
    assert_same_weights(path, model)
    assert_same_logits(path, model)


@pytest.mark.parametrize("parallel", [True, False])
def test_a_gpt_neox_comes_back_as_it_was(tmp_path: Path, parallel: bool) -> None:
    sizes = {"vocab_size": 40, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 56, "max_position_embeddings": 29}
    rope = {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.25}
    config = GPTNeoXConfig(**sizes, rope_parameters=rope, use_parallel_residual=parallel, layer_norm_eps=1e-3)
    model = with_random_weights(GPTNeoXForCausalLM(config))
    fields = {
        "block_count": 2,
        "context_length": 29,
        "embedding_length": 48,
        "feed_forward_length": 56,
        "attention.head_count": 3,
        "attention.layer_norm_epsilon": 1e-3,
        "rope.dimension_count": 4,
        "rope.freq_base": 300.0,
        "use_parallel_residual": parallel,
    }
    fields = {f"gptneox.{name}": value for name, value in fields.items()}
    path = write_gguf(tmp_path / "tiny.gguf", "gptneox", fields, neox_tensors(model))
    assert_same_weights(path, model)
    assert_same_logits(path, model)


def test_an_olmo_comes_back_as_it_was(tmp_path: Path) -> None:
    sizes = {name: size for name, size in LLAMA.items() if name not in ("head_dim", "rms_norm_eps")}
    model = with_random_weights(OlmoForCausalLM(OlmoConfig(**sizes, rope_theta=300.0, tie_word_embeddings=False)))
    fields = llama_fields(model.config, "olmo") | {"olmo.attention.layer_norm_epsilon": 1e-5}
    path = write_gguf(tmp_path / "tiny.gguf", "olmo", fields, llama_tensors(model))
    assert_same_weights(path, model)
    assert_same_logits(path, model)


def test_a_gpt2_comes_back_as_it_was(tmp_path: Path) -> None:
    model = random_gpt2()
    fields = {
        "gpt2.block_count": 2,
        "gpt2.context_length": 29,
        "gpt2.embedding_length": 24,
        "gpt2.feed_forward_length": 56,
        "gpt2.attention.head_count": 4,
        "gpt2.attention.layer_norm_epsilon": 1e-3,
    }
    path = write_gguf(tmp_path / "tiny.gguf", "gpt2", fields, gpt2_tensors(model))
    assert_same_weights(path, model)
    assert_same_logits(path, model)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.BF16])
def test_quantised_weights_are_unpacked_and_run(tmp_path: Path, kind: Kind) -> None:
    model = random_llama()
    path = write_llama(tmp_path / "tiny.gguf", model, lambda name: kind)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                # One step of the coarsest type is a sixteenth of a block's range.
                found = torch.from_numpy(gguf.dequantize(gguf.quantize(parameter.numpy(), kind), kind).copy())
                assert_close(found, parameter, atol=0.3, rtol=0)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
    found = weights_of(path)
    for name, weight in theirs.state_dict().items():
        assert_close(found[name], weight, atol=1e-6, rtol=1e-6)
    assert_same_logits(path, theirs.eval())


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"])
def test_bytes_are_unpacked_as_transformers_does_it_in_pytorch(name: str) -> None:
    kind = Kind[name]
    n_numbers, n_bytes = block_of(kind, "test")
    stored = np.random.default_rng(0).integers(256, size=(6, n_bytes), dtype=np.uint8)
    # Scales are float16: without the upper bits of their exponents, no random one is infinite.
    stored[:, 1::2] &= 0b10111111
    ours = dequantised(stored.reshape(-1), kind, (3, 2 * n_numbers), "test")
    theirs = dequant.dequantize(torch.from_numpy(stored.reshape(-1)), int(kind))
    assert np.abs(ours).max() > 0.1
    assert_close(torch.from_numpy(ours).flatten(), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("at_once", [1, 70, 130, 10**6])
def test_matrices_unpacked_a_few_rows_at_a_time_are_whole(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0).standard_normal((5, 3, 64)).astype(np.float32)
    packed = gguf.quantize(numbers, Kind.Q8_0)
    whole = gguf.dequantize(packed, Kind.Q8_0)
    monkeypatch.setattr(gguf_types, "_AT_ONCE", at_once)
    found = dequantised(packed.reshape(-1), Kind.Q8_0, numbers.shape, "test")
    np.testing.assert_array_equal(found, whole)
    vector = dequantised(packed.reshape(-1)[: 2 * 34], Kind.Q8_0, (64,), "test")
    np.testing.assert_array_equal(vector, whole[0, 0])


def test_pages_given_back_are_read_again_from_the_file(tmp_path: Path) -> None:
    file = open_gguf(write_llama(tmp_path / "m.gguf", random_llama()))
    for tensor in file.tensors.values():
        before = file.data[tensor.start : tensor.end]
        file.let_go(tensor)
        assert file.data[tensor.start : tensor.end] == before


def test_the_epsilon_is_the_decimal_that_was_rounded(tmp_path: Path) -> None:
    config = read_gguf(write_llama(tmp_path / "tiny.gguf", random_llama(rms_norm_eps=1e-5))).config
    assert np.float32(1e-5).item() != 1e-5
    assert config["rms_norm_eps"] == 1e-5


def test_llama_3s_factors_of_the_frequencies_are_recognised(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    model = random_llama(rope_parameters={**rope, "original_max_position_embeddings": 8192})
    plain = 500000.0 ** -(torch.arange(0, 32, 2) / 32)
    factors = (plain / model.model.rotary_emb.inv_freq).numpy()
    tensors = {**llama_tensors(model), "rope_freqs.weight": factors}
    fields = llama_fields(model.config) | {"llama.rope.freq_base": 500000.0}
    path = write_gguf(tmp_path / "tiny.gguf", "llama", fields, tensors)
    assert 1 < np.median(factors) < factors.max()
    assert read_gguf(path).config["rope_scaling"]["factor"] == 8.0
    assert_same_logits(path, model)
    tensors["rope_freqs.weight"] = factors**2
    with pytest.raises(CheckpointError, match=r"rope_freqs.weight.*only such rule"):
        read_gguf(write_gguf(tmp_path / "other.gguf", "llama", fields, tensors))
