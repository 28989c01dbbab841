"""The constructor, the configuration and the loading options of `models.compat`, and what it refuses."""

import random
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformer_lens import utilities

import models
from interp import LogitDifference, built_in, sweep
from models.compat import HookedTransformer, HookedTransformerConfig, patching, utils
from models.compat.utils import downloads
from models.errors import CheckpointError, ConfigError, InputError, ProcessingError
from tests.conftest import random_tokens, small_config
from tests.models.compat_models import story_tokenizer

FIELDS = {"n_layers": 2, "d_model": 12, "d_head": 6, "n_ctx": 9, "d_vocab": 17, "act_fn": "gelu"}


def test_a_config_takes_what_transformer_lens_takes_if_it_is_off():
    config = HookedTransformerConfig(**FIELDS, post_embedding_ln=False, num_experts=None, device=torch.device("cpu"))
    assert config.to_dict() == models.HookedTransformerConfig(**FIELDS, device="cpu").to_dict()
    assert isinstance(replace(config, n_ctx=5), HookedTransformerConfig)
    assert HookedTransformerConfig.unwrap(FIELDS).n_ctx == HookedTransformerConfig.unwrap(config).n_ctx == 9
    with pytest.raises(ConfigError, match="num_experts=4 is not supported"):
        HookedTransformerConfig(**FIELDS, num_experts=4)
    with pytest.raises(ConfigError, match="Did you mean 'attn_only'"):
        HookedTransformerConfig(**FIELDS, atn_only=True)


def test_a_config_stays_frozen_and_says_what_to_call():
    config = HookedTransformerConfig(**FIELDS)
    with pytest.raises(FrozenInstanceError, match=r"model.set_use_attn_result\(True\)"):
        config.use_attn_result = True
    assert not config.use_attn_result


def test_a_seed_is_set_when_asked_for_and_not_before():
    torch.manual_seed(5)
    config = HookedTransformerConfig(**FIELDS, seed=3)
    drawn = torch.rand(2)
    torch.manual_seed(5)
    assert_close(torch.rand(2), drawn)
    draws = []
    for _ in range(2):
        config.set_seed_everywhere(7)
        draws.append((torch.rand(1).item(), random.random(), np.random.rand()))
    assert draws[0] == draws[1]


def test_the_order_of_the_constructor_is_that_of_transformer_lens():
    model = HookedTransformer(small_config(), story_tokenizer(), True, "left")
    assert model.tokenizer.padding_side == "left"
    assert isinstance(model, models.HookedTransformer)
    assert not model.training
    assert HookedTransformer(FIELDS, move_to_device=False).cfg.device == "cpu"
    with pytest.raises(ConfigError, match="device='cpu'"):
        HookedTransformer({**FIELDS, "device": "meta"}, move_to_device=False)


def test_a_pretrained_model_is_folded_as_asked():
    tokens = random_tokens(2, 9, d_vocab=1024)
    plain = models.HookedTransformer.from_pretrained_no_processing("stdlib-2l", device="cpu", dtype=torch.float64)
    same = HookedTransformer.from_pretrained_no_processing("stdlib-2l", dtype="float64", device="cpu")
    folded = HookedTransformer.from_pretrained("stdlib-2l", True, True, True, dtype=torch.float64, device="cpu")
    assert_close(same(tokens), plain(tokens))
    for name, value in plain.state_dict().items():
        assert torch.equal(same.state_dict()[name], value), name
    assert plain.b_V.abs().max() > 0.01
    assert folded.cfg.normalization_type == "LNPre"
    assert_close(folded(tokens).log_softmax(-1), plain(tokens).log_softmax(-1))
    assert HookedTransformer.from_pretrained("stdlib-2l", device="cpu").cfg.dtype == torch.float32
    with pytest.raises(ProcessingError, match="refactor"):
        HookedTransformer.from_pretrained("stdlib-2l", refactor_factored_attn_matrices=True, device="cpu")


def test_the_stream_before_the_first_block_continues_to_the_logits():
    model = HookedTransformer(small_config(), story_tokenizer(), default_padding_side="left")
    texts = ["mary gave a ball", "john"]
    stream, tokens, none, mask = model.input_to_embed(texts)
    assert none is None
    assert_close(model(stream, start_at_layer=0, attention_mask=mask), model(texts))
    assert_close(tokens, model.to_tokens(texts))
    assert mask.sum() == 5 + 2


def test_what_is_generated_comes_in_the_kind_asked_for(as_users_run_it):
    model = HookedTransformer.from_pretrained("stdlib-2l", device="cpu")
    options = {"max_new_tokens": 3, "temperature": 0, "stop_at_eos": False}
    tokens = model.generate("import", return_type="tokens", **options)
    assert model.generate("import", **options) == model.to_string(tokens[0, 1:])
    with pytest.raises(InputError, match="'tensor'"):
        model.generate("import", return_type="tensor", **options)


def test_a_download_is_read_and_never_unpickled(tmp_path, monkeypatch):
    numbers, code = tmp_path / "numbers.pth", tmp_path / "code.pth"
    torch.save({"W": torch.ones(2)}, numbers)
    torch.save({"W": random.Random}, code)
    monkeypatch.setattr(downloads, "hf_hub_download", lambda repo_id, filename, **options: str(tmp_path / filename))
    assert_close(utils.download_file_from_hf("someone/model", "numbers.pth")["W"], torch.ones(2))
    with pytest.raises(CheckpointError, match="none of it was executed"):
        utils.download_file_from_hf("someone/model", "code.pth")


def test_what_cannot_be_fetched_says_what_to_do(monkeypatch):
    def offline(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(downloads, "hf_hub_download", offline)
    monkeypatch.setattr(utilities, "get_dataset", offline)
    with pytest.raises(ConnectionError, match=r"model.pth of someone/model could not be fetched: no network"):
        utils.download_file_from_hf("someone/model", "model.pth")
    with pytest.raises(ConnectionError, match=r"texts of your own.*no network"):
        utils.get_dataset("pile")


def test_a_model_just_made_can_be_patched():
    model = HookedTransformer(small_config(init_weights=True, seed=1))
    tokens = random_tokens(1, 4)
    cache = model.run_with_cache(random_tokens(1, 4, seed=1))[1]
    metric = lambda logits: logits[0, -1, 3]  # noqa: E731  # as notebooks write it
    patched = patching.get_act_patch_mlp_out(model, tokens, cache, metric)
    # Nothing reads what the last MLP writes at another position.
    assert_close(patched[-1, 0].double(), metric(model(tokens)), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"model\.eval"):
        patching.get_act_patch_resid_pre(model.train(), tokens, cache, metric)


def test_a_fast_sweep_runs_on_the_model_and_equals_the_patching_of_notebooks():
    model = HookedTransformer.from_pretrained("stdlib-2l", device="cpu", dtype="float64")
    pairs = built_in("induction", n_prompts=5, seed=0).on(model)
    metric = LogitDifference(pairs.answer, pairs.wrong)
    swept = sweep(model, pairs.clean, pairs.corrupted, "z", ("layer", "head"), metric, direction="denoising")
    assert swept.engine == "wavefront"

    def difference(logits):
        last, rows = logits[:, -1], torch.arange(5)
        return (last[rows, pairs.answer] - last[rows, pairs.wrong]).mean()

    cache = model.run_with_cache(pairs.clean)[1]
    patched = patching.get_act_patch_attn_head_out_all_pos(model, pairs.corrupted, cache, difference)
    assert_close(patched.double(), swept.values.mean(0), atol=1e-5, rtol=0)
