"""A model survives its folder unchanged, and no damaged or foreign folder is taken for a model."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from models.errors import CheckpointError, TokenizerError
from models.loading import saved
from models.loading.folder import load, save
from tests.conftest import order_one_model, random_tokens
from tests.models.word_tokenizer import word_tokenizer

VARIANTS = {
    "default": {},
    "tied, no QKV bias": {"tie_word_embeddings": True, "qkv_bias": False},
    "grouped, rotary, gated RMS": {
        "n_key_value_heads": 2,
        "positional_embedding_type": "rotary",
        "gated_mlp": True,
        "act_fn": "silu",
        "normalization_type": "RMS",
    },
    "local windows": {"use_local_attn": True, "window_size": 3, "attn_types": ("global", "local")},
    "attention only, no norm": {"attn_only": True, "normalization_type": None},
    "switched points, other output": {"use_attn_result": True, "d_vocab_out": 5, "seed": 3, "model_name": "näme"},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_a_loaded_model_is_the_saved_one(tmp_path, changes):
    model = order_one_model(**changes)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model", device="cpu")
    assert loaded.cfg == model.cfg
    assert loaded.tokenizer is None
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert torch.equal(loaded(random_tokens()), model(random_tokens()))


def test_a_folder_holds_three_files_and_the_tied_matrix_once(tmp_path):
    model = order_one_model(tie_word_embeddings=True)
    model.tokenizer = word_tokenizer()
    save(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert "unembed.W_U" not in load_file(tmp_path / "model.safetensors")
    model.tokenizer = None
    save(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_a_loaded_tokenizer_reads_and_pads_as_the_saved_one(tmp_path, padding_side):
    model = order_one_model()
    model.tokenizer = word_tokenizer(padding_side)
    texts = ["the cat sat", "cat", "a bird"]
    # Padding and truncating leave their traces in the tokenizer; they must not be saved.
    tokens = model.to_tokens(texts)
    save(model, tmp_path)
    saved_tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    assert saved_tokenizer["padding"] is saved_tokenizer["truncation"] is None
    loaded = load(tmp_path, device="cpu")
    assert torch.equal(loaded.to_tokens(texts), tokens)
    assert loaded.to_tokens("cat").shape == (1, 2)
    assert loaded.to_string(tokens) == model.to_string(tokens)
    assert loaded.tokenizer.pad_token_id == 2


def test_a_tokenizer_without_a_file_of_its_own_is_refused(tmp_path):
    model = order_one_model()
    model.tokenizer = object()
    with pytest.raises(TokenizerError, match="type object cannot be saved"):
        save(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_dtype_asked_for_is_the_dtype_computed_in(tmp_path):
    model = order_one_model(positional_embedding_type="rotary", dtype=torch.float32)
    save(model, tmp_path)
    double, tokens = load(tmp_path, device="cpu", dtype=torch.float64), random_tokens()
    assert load(tmp_path, device="cpu").cfg.dtype == torch.float32
    assert double.cfg.dtype == torch.float64
    # Rotary angles in double precision too: a model built in float64 with the same weights gives the same numbers.
    reference = order_one_model(positional_embedding_type="rotary")
    reference.load_state_dict(model.state_dict())
    assert torch.equal(double(tokens), reference(tokens))


def test_loading_draws_no_random_numbers(tmp_path):
    save(order_one_model(), tmp_path)
    state = torch.get_rng_state()
    load(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


def test_saving_again_replaces_the_model_and_leaves_other_files(tmp_path):
    save(order_one_model(seed=1), tmp_path)
    (tmp_path / "card.md").write_text("a card")
    second = order_one_model(seed=2)
    save(second, tmp_path)
    assert torch.equal(load(tmp_path, device="cpu").W_E, second.W_E)
    assert (tmp_path / "card.md").read_text() == "a card"


def test_an_interrupted_save_leaves_nothing_that_loads_wrongly(tmp_path, monkeypatch):
    first = order_one_model(seed=1)
    save(first, tmp_path)

    def interrupted(tensors, path):
        Path(path).write_bytes(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saved, "save_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(order_one_model(seed=2), tmp_path)
    assert torch.equal(load(tmp_path, device="cpu").W_E, first.W_E)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_model_that_diverged_is_not_saved(tmp_path):
    model = order_one_model()
    model.blocks[1].mlp.b_in.data[3] = torch.inf
    with pytest.raises(CheckpointError, match=r"blocks\.1\.mlp\.b_in has 1 of 20 numbers that are not finite"):
        save(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_somebody_elses_folder_is_neither_read_nor_overwritten(tmp_path):
    foreign = '{"architectures": ["LlamaForCausalLM"], "hidden_size": 64}'
    (tmp_path / "config.json").write_text(foreign)
    with pytest.raises(CheckpointError, match="is a Hugging Face configuration; expected format"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="is a Hugging Face configuration; expected format"):
        save(order_one_model(), tmp_path)
    assert (tmp_path / "config.json").read_text() == foreign


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intact")
    model = order_one_model()
    model.tokenizer = word_tokenizer()
    save(model, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def placed(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_and_truncated_files_are_named(tmp_path, intact, name):
    folder = placed(intact, tmp_path)
    load(folder)
    (folder / name).write_bytes(intact[name][:-100])
    with pytest.raises(CheckpointError, match=name):
        load(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_flipped_bit_goes_unseen(tmp_path, intact, data):
    name = data.draw(st.sampled_from(sorted(intact)))
    content = bytearray(intact[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    folder = placed({**intact, name: bytes(content)}, tmp_path)
    if name == "config.json" and _parsed(bytes(content)) == _parsed(intact[name]):
        # Another spelling of the same JSON (1E-5 for 1e-5).
        load(folder)
    else:
        with pytest.raises(CheckpointError, match=r"config\.json|model\.safetensors|tokenizer\.json"):
            load(folder)


def test_a_config_edited_by_hand_is_refused(tmp_path, intact):
    folder = placed(intact, tmp_path)
    text = (folder / "config.json").read_text()
    assert '"eps": 1e-05' in text
    (folder / "config.json").write_text(text.replace('"eps": 1e-05', '"eps": 1e-04'))
    with pytest.raises(CheckpointError, match=r"config\.json was changed after it was written"):
        load(folder)
    (folder / "config.json").write_text(text.replace('"eps": 1e-05', '"eps": 0.00001'))
    load(folder)


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def resealed(folder: Path, **manifest_changes: object) -> Path:
    """The folder with a manifest that vouches for whatever stands in it now."""
    manifest = json.loads((folder / "config.json").read_text()) | manifest_changes
    manifest["files"] = {name: saved._fingerprint(folder / name) for name in manifest["files"]}
    manifest["sha256"] = saved._own_hash(manifest)
    (folder / "config.json").write_text(json.dumps(manifest))
    return folder


def _with_nan(state):
    state["embed.W_E"][3, 1] = torch.nan


def _without_two(state):
    del state["blocks.0.attn.W_Q"], state["unembed.b_U"]


def _with_foreign(state):
    state["blocks.2.attn.W_Q"] = state["blocks.0.attn.W_Q"].clone()


def _transposed(state):
    state["unembed.W_U"] = state["unembed.W_U"].T.contiguous()


def _counted(state):
    state["embed.W_E"] = state["embed.W_E"].long()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_with_nan, r"embed\.W_E has 1 of 204 numbers that are not finite"),
        (_without_two, r"missing blocks\.0\.attn\.W_Q, unembed\.b_U; unexpected nothing"),
        (_with_foreign, r"missing nothing; unexpected blocks\.2\.attn\.W_Q"),
        (_transposed, r"unembed\.W_U has shape \[17, 12\]; the model's has \[12, 17\]"),
        (_counted, r"embed\.W_E holds torch\.int64, not floating-point numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused_even_with_a_matching_hash(tmp_path, intact, damage, message):
    folder = placed(intact, tmp_path)
    load(resealed(folder))
    state = load_file(folder / "model.safetensors")
    damage(state)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: .*{message}"):
        load(resealed(folder))


def test_other_formats_are_named_even_with_a_matching_hash(tmp_path, intact):
    folder = placed(intact, tmp_path)
    with pytest.raises(CheckpointError, match="format version 2; this package reads version 1"):
        load(resealed(folder, format_version=2))
    placed(intact, tmp_path)
    fields = json.loads(intact["config.json"])["config"]
    with pytest.raises(CheckpointError, match=r"describes no model: 'd_modle' is not a field"):
        load(resealed(folder, config={**fields, "d_modle": 3}))
    with pytest.raises(CheckpointError, match="names the dtype 'float65'"):
        load(resealed(folder, config={**fields, "dtype": "float65"}))
    placed(intact, tmp_path)
    torch.save({"embed.W_E": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a safetensors file"):
        load(resealed(folder))
    placed(intact, tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a file of the tokenizers library"):
        load(resealed(folder))


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("text")
    for path, message in ((tmp_path / "nowhere", "is not a folder"), (tmp_path / "file", "is not a folder")):
        with pytest.raises(CheckpointError, match=message):
            load(path)
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        load(tmp_path)


def test_a_gpu_is_used_only_when_asked_for_or_present(tmp_path):
    save(order_one_model(), tmp_path)
    assert load(tmp_path).cfg.device == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert_close(load(tmp_path, device="cpu").W_E, order_one_model().W_E)
