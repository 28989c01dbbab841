"""State dicts as TransformerLens saved them, early and late: the model comes back, or the error says what is missing.

The state dicts are made here from a model's own, by the rules that its versions followed.
"""

import re

import pytest
import torch
from torch.testing import assert_close

from models.errors import CheckpointError
from models.loading.foreign import load_tl_checkpoint
from models.positions import Rotary
from tests.conftest import order_one_model, random_tokens
from tests.models.loading.test_pickle import Trap
from tests.models.word_tokenizer import word_tokenizer

GIVEN = {
    "act_fn": "gelu",
    "eps": 1e-5,
    "positional_embedding_type": "standard",
    "parallel_attn_mlp": False,
    "attn_scale": 6**0.5,
}
"""What the weights of the small model do not say."""


def late(model):
    """The state dict that 3.9 would save: with masks, constants and rotary tables among the weights."""
    cfg, state = model.cfg, {name: value.clone() for name, value in model.state_dict().items()}
    places = torch.arange(cfg.n_ctx)
    for layer in range(cfg.n_layers):
        distance = places[:, None] - places
        local = cfg.use_local_attn and cfg.attn_types[layer] == "local"
        state[f"blocks.{layer}.attn.mask"] = (distance >= 0) & (distance < (cfg.window_size if local else cfg.n_ctx))
        state[f"blocks.{layer}.attn.IGNORE"] = torch.tensor(-torch.inf)
        if cfg.positional_embedding_type == "rotary":
            pairs = torch.arange(0, cfg.rotary_dim, 2).double() / cfg.rotary_dim
            angles = places[:, None] / cfg.rotary_base**pairs
            both = angles.repeat_interleave(2, 1) if cfg.rotary_adjacent_pairs else torch.cat([angles, angles], 1)
            state[f"blocks.{layer}.attn.rotary_cos"] = both.cos()
            state[f"blocks.{layer}.attn.rotary_sin"] = both.sin()
    return state


def early(state, positions_only=False):
    """The same as the first models had it: matrices as [out, in], and norms by another name."""
    found = {}
    for name, value in state.items():
        name = name.replace("ln_final", "norm").replace("ln1", "norm1").replace("ln2", "norm2")
        turned = "W_pos" in name if positions_only else "W_" in name
        found[name] = value.transpose(-2, -1) if turned else value
    return found


def saved(path, content):
    torch.save(content, path)
    return path


VARIANTS = {
    "plain": ({}, {}),
    "folded": ({"normalization_type": "LNPre"}, {"normalization_type": "LNPre"}),
    "no norm": ({"normalization_type": None}, {"normalization_type": None, "eps": None}),
    "RMS, gated": ({"normalization_type": "RMS", "gated_mlp": True, "act_fn": "silu"}, {"act_fn": "silu"}),
    "final RMS": ({"final_rms": True}, {}),
    "grouped": ({"n_key_value_heads": 2}, {}),
    "SoLU": ({"act_fn": "solu_ln"}, {"act_fn": None}),
    "attention only": ({"attn_only": True}, {"act_fn": None, "parallel_attn_mlp": None}),
    "parallel": ({"parallel_attn_mlp": True}, {"parallel_attn_mlp": True}),
    "another output": ({"d_vocab_out": 5}, {}),
    "no scale": ({"use_attn_scale": False}, {"attn_scale": None, "use_attn_scale": False}),
    "eps": ({"eps": 0.1}, {"eps": 0.1}),
    "rotary": (
        {"positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_base": 50},
        {"positional_embedding_type": None, "rotary_base": 50, "rotary_adjacent_pairs": False},
    ),
    "rotary, adjacent": (
        {"positional_embedding_type": "rotary", "rotary_adjacent_pairs": True},
        {"positional_embedding_type": None, "rotary_base": 10000, "rotary_adjacent_pairs": True},
    ),
    "windows": (
        {"use_local_attn": True, "window_size": 3, "attn_types": ("global", "local")},
        {"use_local_attn": True, "window_size": 3, "attn_types": ("global", "local")},
    ),
}
"""Each model, and how what must be said about it differs from `GIVEN` (None: need not be said)."""


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_late_checkpoint_gives_the_model_back(tmp_path, variant, wrapped):
    changes, said = VARIANTS[variant]
    model = order_one_model(**changes)
    given = {name: value for name, value in (GIVEN | said).items() if value is not None or name == "normalization_type"}
    content = {"model": {f"_orig_mod.{k}": v for k, v in late(model).items()}, "cfg": given} if wrapped else late(model)
    path = saved(tmp_path / "model.pt", content)
    ours = load_tl_checkpoint(path, None if wrapped else given, device="cpu")
    assert ours.cfg.dtype == torch.float64
    assert torch.equal(ours(random_tokens()), model(random_tokens()))
    for name in given.keys() - {"normalization_type", "use_local_attn"}:
        with pytest.raises(CheckpointError, match=f"(?s)(do not say|needs|is not that|not those).*{name}"):
            load_tl_checkpoint(path if not wrapped else saved(path, late(model)), without(given, name))


def without(fields, name):
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.parametrize("positions_only", [False, True])
def test_an_early_checkpoint_gives_the_model_back(tmp_path, positions_only):
    model = order_one_model()
    path = saved(tmp_path / "model.pth", early(late(model), positions_only))
    assert_close(load_tl_checkpoint(path, GIVEN, device="cpu")(random_tokens()), model(random_tokens()))


def test_square_matrices_go_with_the_others(tmp_path):
    model = order_one_model(n_ctx=12, d_mlp=12, d_vocab=12, n_heads=2, d_head=12)
    given = GIVEN | {"attn_scale": 12**0.5}
    for content in (late(model), early(late(model))):
        path = saved(tmp_path / "model.pth", content)
        # Nothing but names tells the two apart where all is square: the early one is refused.
        if content.keys() == late(model).keys():
            tokens = random_tokens(d_vocab=12)
            assert_close(load_tl_checkpoint(path, given, device="cpu")(tokens), model(tokens))
        else:
            with pytest.raises(CheckpointError, match=r"pos_embed\.W_pos is square"):
                load_tl_checkpoint(path, given)
    half = order_one_model(n_ctx=12)
    path = saved(tmp_path / "model.pth", early(late(half)))
    assert_close(load_tl_checkpoint(path, GIVEN, device="cpu")(random_tokens()), half(random_tokens()))


def test_matrices_that_face_different_ways_are_refused(tmp_path):
    state = late(order_one_model())
    state["blocks.1.mlp.W_in"] = state["blocks.1.mlp.W_in"].T
    with pytest.raises(CheckpointError, match=r"blocks\.1\.mlp\.W_in is stored as \[out, in\], and .* as \[in, out\]"):
        load_tl_checkpoint(saved(tmp_path / "model.pt", state), GIVEN)


def test_a_whole_config_is_taken_as_it_is(tmp_path):
    model = order_one_model(normalization_type="LNPre", eps=0.1)
    path = saved(tmp_path / "model.pt", late(model))
    fields = {**model.cfg.to_dict(), "device": "cuda", "n_params": 5, "d_mlp": None, "d_vocab_out": -1}
    for config in (model.cfg, fields):
        ours = load_tl_checkpoint(path, config, word_tokenizer(), dtype=torch.float32, device="cpu")
        assert ours.cfg.dtype == torch.float32
        assert_close(ours("the cat"), model(ours.to_tokens("the cat")).float(), atol=1e-4, rtol=1e-4)


def test_an_unembedding_that_is_not_stored_is_the_embedding(tmp_path):
    model = order_one_model(tie_word_embeddings=True)
    path = saved(tmp_path / "model.pt", model.state_dict())
    ours = load_tl_checkpoint(path, GIVEN, device="cpu")
    assert ours.cfg.tie_word_embeddings
    assert torch.equal(ours(random_tokens()), model(random_tokens()))


def test_the_two_layer_model_of_the_induction_notebooks(tmp_path):
    # Attention only, no norms, positions that queries and keys alone read, weights in half precision with the buffers.
    changes = {"positional_embedding_type": "shortformer", "attn_only": True, "normalization_type": None}
    half = {name: value if value.dtype == torch.bool else value.half() for name, value in
            late(order_one_model(**changes)).items()}  # fmt: skip
    path = saved(tmp_path / "attn_only_2L_half.pth", half)
    # As the notebooks load it: a config, then the weights.
    model = order_one_model(seed=1, use_attn_result=True, **changes)
    model.load_state_dict(torch.load(path, weights_only=True))
    given = {"normalization_type": None, "positional_embedding_type": "shortformer", "attn_scale": 6**0.5}
    loaded = load_tl_checkpoint(path, given, dtype=torch.float64, device="cpu")
    assert loaded.cfg.attn_only
    assert loaded.cfg.n_ctx == 9
    assert_close(loaded(random_tokens()), model(random_tokens()))
    added = load_tl_checkpoint(path, given | {"positional_embedding_type": "standard"}, dtype=torch.float64)
    assert not torch.allclose(added(random_tokens()), loaded(random_tokens()))
    with pytest.raises(CheckpointError, match="positional_embedding_type"):
        load_tl_checkpoint(path, {"normalization_type": None, "attn_scale": 6**0.5})


ROTARY = {"positional_embedding_type": "rotary", "normalization_type": "LNPre"}


@pytest.mark.parametrize(
    ("changes", "given", "missing"),
    [
        ({}, {}, {
            "positional_embedding_type": "'standard' or 'shortformer'; by default 'standard'",
            "act_fn": "one of 'relu', 'gelu', 'gelu_new', .*; by default 'relu'",
            "parallel_attn_mlp": "True or False; by default False",
            "eps": "a number, what norms add under their root; by default 1e-05",
            "attn_scale": r"a positive number; by default the root of d_head, 2\.44949\. Instead of it, use_attn_scale",
        }),
        ({}, {**GIVEN, "eps": None}, {"eps": "a number"}),
        (ROTARY, GIVEN | {"positional_embedding_type": None}, {
            "n_ctx": "a positive integer",
            "normalization_type": r"'LNPre', 'RMSPre' \(with eps\) or None",
            "positional_embedding_type": r"'rotary' \(with rotary_dim, rotary_base .*\) or 'none'",
        }),
        (ROTARY, GIVEN | ROTARY | {"n_ctx": 9}, {
            "rotary_dim": "an even number up to d_head=6; by default d_head",
            "rotary_base": "a positive number; by default 10000",
            "rotary_adjacent_pairs": r"True \(GPT-J\) or False .*; by default False",
        }),
        ({"use_normalization_before_and_after": True}, GIVEN, {
            "attn_scores_soft_cap": r"a positive number, or -1\.0 for no cap; by default -1\.0",
            "output_logits_soft_cap": r"a positive number, or -1\.0 for no cap; by default -1\.0",
        }),
    ],
)  # fmt: skip
def test_each_missing_field_is_listed_with_what_it_may_be(tmp_path, changes, given, missing):
    path = saved(tmp_path / "model.pt", order_one_model(**changes).state_dict())
    with pytest.raises(CheckpointError) as refused:
        load_tl_checkpoint(path, given)
    first, *lines, last = str(refused.value).split("\n")
    assert first.startswith(f"{path}: the weights do not say {'a field' if len(missing) == 1 else len(missing)}")
    assert [line.split(":")[0].strip() for line in lines] == list(missing)
    for line, (name, may_be) in zip(lines, missing.items(), strict=True):
        assert re.match(f"  {name}: {may_be}", line), line
    assert "load_tl_checkpoint(path, config={" in last
    assert "save(model, folder) of models.loading.folder" in last


def test_what_the_error_calls_a_default_is_one(tmp_path):
    model = order_one_model(use_normalization_before_and_after=True, act_fn="relu")
    path = saved(tmp_path / "model.pt", model.state_dict())
    caps = {"attn_scores_soft_cap": -1.0, "output_logits_soft_cap": -1.0}
    given = {"positional_embedding_type": "standard", "act_fn": "relu", "parallel_attn_mlp": False, "eps": 1e-5}
    for scale in ({"attn_scale": 2.449489742783178}, {"attn_scale": -1.0}, {"use_attn_scale": True}):
        ours = load_tl_checkpoint(path, given | caps | scale, device="cpu")
        assert_close(ours(random_tokens()), model(random_tokens()))
        assert ours.cfg.attn_scale == 6**0.5


def test_a_config_in_the_file_that_is_a_training_programs_is_told_as_the_files(tmp_path):
    model = order_one_model()
    path = saved(tmp_path / "model.pt", {"model": late(model), "config": GIVEN | {"batch_size": 8}})
    with pytest.raises(CheckpointError, match=r"model\.pt: the config in the file .*'batch_size' is not a field"):
        load_tl_checkpoint(path, GIVEN)
    assert torch.equal(load_tl_checkpoint(path, model.cfg, device="cpu")(random_tokens()), model(random_tokens()))


def test_a_misspelt_field_is_told_before_what_is_missing(tmp_path):
    path = saved(tmp_path / "model.pt", order_one_model().state_dict())
    with pytest.raises(CheckpointError, match=r"model\.pt: 'atcn_scale' is not a field.* Did you mean 'attn_scale'\?$"):
        load_tl_checkpoint(path, {"atcn_scale": 2.0})
    # What TransformerLens has and we do not use is no slip.
    load_tl_checkpoint(path, GIVEN | {"trust_remote_code": False, "use_logn_attn": False}, device="cpu")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_heads": 3}, "n_heads=3 is given, and the weights say 4"),
        ({"d_model": 13}, "d_model=13 is given, and the weights say 12"),
        ({"n_ctx": 8}, "n_ctx=8 is given, and the weights say 9"),
        ({"normalization_type": "LNPre"}, "normalization_type='LNPre' is given, and the weights say 'LN'"),
        ({"positional_embedding_type": "alibi"}, "'alibi' is not supported"),
        ({"positional_embedding_type": "rotary", "rotary_dim": 6, "rotary_base": 10, "rotary_adjacent_pairs": True},
         r"'rotary' is given, and the weights have pos_embed\.W_pos"),
        ({"d_mpl": 20}, "'d_mpl' is not a field.*Did you mean 'd_mlp'"),
        ({"use_local_attn": True, "window_size": 3, "attn_types": ["local", "global"]}, "the mask of layer 0 is not"),
    ],
)  # fmt: skip
def test_a_config_that_the_weights_contradict_is_refused(tmp_path, as_users_run_it, wrong, message):
    path = saved(tmp_path / "model.pt", late(order_one_model()))
    load_tl_checkpoint(path, GIVEN, device="cpu")
    with pytest.raises(CheckpointError, match=rf"model\.pt: .*{message}"):
        load_tl_checkpoint(path, GIVEN | wrong)


def test_rotary_tables_of_another_rotation_are_refused(tmp_path):
    model = order_one_model(positional_embedding_type="rotary", rotary_base=50)
    path = saved(tmp_path / "model.pt", late(model))
    given = GIVEN | {"positional_embedding_type": "rotary", "rotary_base": 50, "rotary_adjacent_pairs": False}
    assert_close(late(model)["blocks.0.attn.rotary_cos"][:, :3], Rotary(model.cfg, 0).cos)
    load_tl_checkpoint(path, given, device="cpu")
    for wrong in ({"rotary_base": 60}, {"rotary_adjacent_pairs": True}, {"rotary_scaling_factor": 2.0}):
        with pytest.raises(CheckpointError, match="the rotary tables of layer 0 are not those of the config"):
            load_tl_checkpoint(path, given | wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.1.attn.W_V": None}, r"missing blocks\.1\.attn\.W_V; unexpected nothing"),
        ({"blocks.1.attn.W_X": torch.ones(2)}, r"missing nothing; unexpected blocks\.1\.attn\.W_X"),
        ({"blocks.2.ln1.w": torch.ones(12)}, r"missing blocks\.2\."),
        ({"blocks.1.mlp.b_in": torch.full((20,), torch.nan)}, r"blocks\.1\.mlp\.b_in has 20 of 20 numbers"),
        ({"blocks.1.mlp.b_in": torch.ones(19)}, r"blocks\.1\.mlp\.b_in has shape \[19\]; the model's has \[20\]"),
        ({"blocks.0.attn.W_Q": None}, r"blocks\.0\.attn\.W_Q is missing, from whose shape"),
        ({"blocks.0.attn.W_Q": torch.ones(12)}, r"blocks\.0\.attn\.W_Q has 1 axes; TransformerLens' has 3"),
        ({"embed.W_E": None}, "expected TransformerLens' weights, embed.W_E among them"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(tmp_path, change, message):
    state = late(order_one_model())
    load_tl_checkpoint(saved(tmp_path / "model.pt", state), GIVEN, device="cpu")
    state = {name: value for name, value in {**state, **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        load_tl_checkpoint(saved(tmp_path / "model.pt", state), GIVEN)


def test_a_pickled_config_is_refused_and_not_executed(tmp_path):
    path = saved(tmp_path / "model.pt", {"model": late(order_one_model()), "cfg": Trap(tmp_path / "executed")})
    with pytest.raises(CheckpointError, match="none of it was executed; load it where you trust it"):
        load_tl_checkpoint(path, GIVEN)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [[1, 2], {"model": 3}, {"epoch": 3}, {}])
def test_another_file_of_pytorch_is_described(tmp_path, content):
    with pytest.raises(
        CheckpointError, match=r"model\.pt holds (a list|a dictionary|an empty dictionary).*; expected TransformerLens'"
    ):
        load_tl_checkpoint(saved(tmp_path / "model.pt", content), GIVEN)
