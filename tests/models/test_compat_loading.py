"""What notebooks hand to `from_pretrained`: tokenizers, names, types, places on the hub, and words that are none."""

import warnings
from dataclasses import replace

import huggingface_hub
import pytest
import torch
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from models.compat import HookedTransformer
from models.errors import CheckpointError, ConfigError
from models.loading.folder import save
from tests.conftest import random_tokens
from tests.models.compat_models import story_tokenizer


def of_transformers(d_vocab=17):
    """A small GPT-2 with weights of order one."""
    config = GPT2Config(
        n_layer=2, n_embd=12, n_head=3, n_positions=9, vocab_size=d_vocab, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config).double().eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the hub with one repository of two revisions; asking the network raises."""
    repository = tmp_path / "cache" / "models--gpt2"
    for number, branch in enumerate(["main", "older"]):
        snapshot = repository / "snapshots" / (str(number) * 40)
        model = of_transformers()
        model.transformer.h[0].attn.c_attn.bias.data += number
        model.save_pretrained(snapshot)
        story_tokenizer().save_pretrained(snapshot)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / branch).write_text(str(number) * 40)
    download, asked = huggingface_hub.snapshot_download, []

    def offline(name, **options):
        asked.append(options)
        return download(name, **{"cache_dir": tmp_path / "cache", **options, "local_files_only": True})

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    return tmp_path / "cache", asked


def load(name, **options):
    return HookedTransformer.from_pretrained_no_processing(name, device="cpu", **{"dtype": "float64", **options})


def test_a_loaded_transformers_model_stands_for_the_name(cache):
    theirs, tokens = of_transformers(), random_tokens()
    plain = load("gpt2", hf_model=theirs)
    assert type(plain) is HookedTransformer
    assert_close(plain(tokens), theirs(tokens).logits)
    folded = HookedTransformer.from_pretrained("gpt2", hf_model=theirs, dtype="float64", device="cpu")
    assert folded.cfg.normalization_type == "LNPre"
    assert_close(folded(tokens).log_softmax(-1), theirs(tokens).logits.log_softmax(-1))


def test_the_tokenizer_of_a_loaded_model_is_given_or_found_by_its_name(cache, tmp_path):
    theirs, given = of_transformers(), story_tokenizer()
    assert load("gpt2", hf_model=theirs, tokenizer=given).tokenizer is given
    # By the name of the repository, and by TransformerLens' name for it.
    for name in ("gpt2", "gpt2-small"):
        assert load(name, hf_model=theirs).to_str_tokens("mary went") == ["<s>", "mary", "went"]
    theirs.save_pretrained(tmp_path / "mine")
    given.save_pretrained(tmp_path / "mine")
    reloaded = GPT2LMHeadModel.from_pretrained(tmp_path / "mine")
    assert load("a name of nothing", hf_model=reloaded, default_padding_side="left").tokenizer.padding_side == "left"


def test_a_loaded_model_whose_tokenizer_is_not_found_says_so(cache):
    with pytest.warns(UserWarning, match=r"no tokenizer.* of distilgpt2\. Pass one with tokenizer=") as said:
        model = load("distilgpt2", hf_model=of_transformers())
    assert model.tokenizer is None
    assert said[0].filename == __file__
    assert model(random_tokens()).isfinite().all()
    # One that knows more words than the model is not this model's.
    with pytest.warns(UserWarning, match="has 17 tokens, the model's vocabulary 11"):
        assert load("gpt2", hf_model=of_transformers(11)).tokenizer is None
    with pytest.warns(UserWarning, match="Pass one"), pytest.warns(UserWarning, match="side='left' has no effect"):
        load("distilgpt2", hf_model=of_transformers(), default_padding_side="left")


def test_a_model_is_called_what_transformer_lens_calls_it(cache, tmp_path):
    theirs, tokenizer = of_transformers(), story_tokenizer()
    theirs.save_pretrained(tmp_path / "here" / "mine")
    names = {"gpt2-small": "gpt2", "EleutherAI/pythia-70m": "pythia-70m", "gpt-neo-small": "gpt-neo-125M"}
    for given, name in names.items():
        assert load(given, hf_model=theirs, tokenizer=tokenizer).cfg.model_name == name
    assert load(tmp_path / "here" / "mine").cfg.model_name == "mine"
    assert load(str(tmp_path / "here" / "mine") + "/").cfg.model_name == "mine"
    assert load("gpt2-small").cfg.model_name == "gpt2"
    assert load("stdlib-2l").cfg.model_name == "stdlib-2l"
    reloaded = GPT2LMHeadModel.from_pretrained(tmp_path / "here" / "mine")
    assert load(reloaded).cfg.model_name == "mine"


def test_options_of_loading_are_heard():
    model = load("stdlib-2l", default_prepend_bos=False, default_padding_side="left")
    assert model.to_tokens("import").shape[1] == model.to_tokens("import", prepend_bos=True).shape[1] - 1
    assert model.tokenizer.padding_side == "left"
    other = story_tokenizer()
    assert load("stdlib-2l", tokenizer=other).tokenizer is other


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"torch_dtype": torch.float64}, torch.float64),
        ({"torch_dtype": "bfloat16", "dtype": "float64"}, torch.bfloat16),
        ({"torch_dtype": None, "dtype": "bf16"}, torch.bfloat16),
        ({"dtype": "fp32"}, torch.float32),
    ],
)
def test_the_type_is_heard_under_both_of_its_names(options, expected):
    model = load("stdlib-1h", **options)
    assert model.cfg.dtype == model.W_E.dtype == expected


def test_remote_code_is_never_run_and_harms_no_call():
    with pytest.warns(UserWarning, match="no code of a repository is ever run"):
        model = load("stdlib-1h", trust_remote_code=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = load("stdlib-1h", trust_remote_code=False)
    assert_close(model(random_tokens()), same(random_tokens()))


def test_places_on_the_hub_are_handed_on(cache):
    folder, asked = cache
    older, main = load("gpt2", revision="older", token="a secret", local_files_only=True), load("gpt2")
    assert asked[0].items() >= {"revision": "older", "token": "a secret", "local_files_only": True}.items()
    assert_close(older.b_Q[0] - main.b_Q[0], torch.ones(3, 4, dtype=torch.float64))
    assert older.to_str_tokens("mary") == ["<s>", "mary"]
    assert_close(load("gpt2", cache_dir=folder)(random_tokens()), main(random_tokens()))
    with pytest.raises(CheckpointError, match="not in the local cache"):
        load("gpt2", cache_dir=folder / "elsewhere")
    folded = HookedTransformer.from_pretrained("gpt2", revision="older", dtype="float64", device="cpu")
    assert_close(folded(random_tokens()).log_softmax(-1), older(random_tokens()).log_softmax(-1))


def test_places_on_the_hub_mean_nothing_for_what_is_not_there():
    with pytest.warns(UserWarning, match="cache_dir, token: without effect, since stdlib-1h"):
        load("stdlib-1h", token="a secret", cache_dir="somewhere")
    with pytest.warns(UserWarning, match="token: without effect, since the model is loaded"):
        load("gpt2", hf_model=of_transformers(), token="a secret", tokenizer=story_tokenizer())
    with pytest.raises(ConfigError, match="revision='main' is one of a repository on the hub, and stdlib-1h is none"):
        load("stdlib-1h", revision="main")


@pytest.mark.parametrize(
    ("option", "value"), [("checkpoint_index", 3), ("first_n_layers", 1), ("n_devices", 2), ("load_in_4bit", True)]
)
def test_options_of_loading_that_we_do_not_have_are_refused_by_name(option, value):
    with pytest.raises(ConfigError, match=f"takes no {option} here; load the model with transformers"):
        load("stdlib-2l", **{option: value})
    with pytest.raises(ConfigError, match="dtype='float33'"):
        load("stdlib-2l", dtype="float33")


@pytest.mark.parametrize(
    ("option", "meant"),
    [("fold_layernorm", "fold_ln"), ("centre_unembed", "center_unembed"), ("torch_type", "torch_dtype")],
)
def test_a_misspelt_option_is_told_what_was_meant(option, meant):
    with pytest.raises(ConfigError, match=f"from_pretrained takes no {option}. Did you mean '{meant}'?"):
        HookedTransformer.from_pretrained("stdlib-1h", device="cpu", **{option: True})


NAMED = {"n_layers": 1, "d_model": 8, "d_head": 4, "n_ctx": 6, "act_fn": "relu", "device": "cpu"}


def test_the_tokenizer_that_a_config_names_is_the_models(cache, tmp_path):
    for name in ("gpt2", "gpt2-small"):
        model = HookedTransformer({**NAMED, "tokenizer_name": name, "attn_only": True}, default_padding_side="left")
        assert model.cfg.d_vocab == model.cfg.d_vocab_out == 17
        assert model.tokenizer.padding_side == "left"
        assert model.to_str_tokens("mary went") == ["<s>", "mary", "went"]
    story_tokenizer().save_pretrained(tmp_path / "mine")
    larger = HookedTransformer({**NAMED, "tokenizer_name": str(tmp_path / "mine"), "d_vocab": 20})
    assert larger("mary went").shape == (1, 3, 20)
    given = story_tokenizer()
    assert HookedTransformer({**NAMED, "tokenizer_name": "nothing"}, given).tokenizer is given


def test_a_config_that_names_a_tokenizer_which_is_not_there_warns(cache):
    with pytest.warns(UserWarning, match=r"no tokenizer.* tokenizer_name='distilgpt2': neither") as said:
        model = HookedTransformer({**NAMED, "tokenizer_name": "distilgpt2", "d_vocab": 17})
    assert said[0].filename == __file__
    assert model(random_tokens(1, 5)).isfinite().all()
    with pytest.warns(UserWarning, match=r"tokenizer_name='gpt2': the tokenizer has 17 tokens, the model's voc"):
        HookedTransformer({**NAMED, "tokenizer_name": "gpt2", "d_vocab": 11})
    with pytest.warns(UserWarning, match="no tokenizer"), pytest.raises(ConfigError, match="d_vocab is not given"):
        HookedTransformer({**NAMED, "tokenizer_name": "distilgpt2"})


def test_a_saved_model_keeps_its_own_tokenizer_and_looks_for_a_named_one_where_it_has_none(cache, tmp_path):
    named = HookedTransformer({**NAMED, "tokenizer_name": "gpt2"})
    save(named, tmp_path / "with")
    named.tokenizer = None
    save(named, tmp_path / "without")
    named.cfg = replace(named.cfg, tokenizer_name="distilgpt2")
    save(named, tmp_path / "nowhere")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for folder in ("with", "without"):
            assert load(tmp_path / folder).to_str_tokens("mary went") == ["<s>", "mary", "went"]
    with pytest.warns(UserWarning, match="tokenizer_name='distilgpt2'") as said:
        assert load(tmp_path / "nowhere").tokenizer is None
    assert len(said) == 1


@pytest.mark.parametrize("options", [{}, {"revision": "main"}])
def test_a_misspelt_name_is_told_the_nearest_that_transformer_lens_has(cache, options):
    with pytest.raises(CheckpointError, match=r"local cache.*\. .*Did you mean 'gpt2-small'\?"):
        load("gtp2-small", **options)
    for name in ("gpt2-medium", "nothing-like-that"):
        with pytest.raises(CheckpointError, match="local cache") as raised:
            load(name, **options)
        assert "Did you mean" not in str(raised.value)
    assert load("gpt2-small", **options).cfg.model_name == "gpt2"
