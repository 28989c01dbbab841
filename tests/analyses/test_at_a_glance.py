import math

import numpy as np
import pytest
import torch

from analyses.at_a_glance import Options, run
from analyses.at_a_glance_tables import matrices
from analyses.rendering import require_valid
from interp.errors import NonFiniteError

from ..conftest import order_one_model, random_tokens


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm_placement": "post", "residual_scale": 1.7},
        {"parallel_attn_mlp": True, "n_key_value_heads": 2, "gated_mlp": True},
        {"attn_only": True, "n_layers": 1, "n_heads": 1, "normalization_type": None, "tie_word_embeddings": True},
        {"attention_dir": "bidirectional", "positional_embedding_type": "rotary", "act_fn": "solu_ln"},
        {"use_local_attn": True, "window_size": 1, "attn_types": ("local", "local")},
        {"use_normalization_before_and_after": True, "normalization_type": "RMS", "dtype": torch.float32},
        {"normalization_type": "ScaleNorm", "attn_scores_soft_cap": 3.0, "dtype": torch.bfloat16},
    ],
)
def test_every_identity_holds(changes):
    model = order_one_model(**changes)
    result = run(model, random_tokens())
    require_valid(result)
    assert len(result.identities) == (3 if changes.get("norm_placement") else 4)
    assert ("Neurons" in result.tables) != model.cfg.attn_only
    assert ("Norms" in result.tables) == (model.cfg.normalization_type is not None)


def test_lengths_and_ratios_are_those_of_the_activations():
    model, tokens = order_one_model(), random_tokens()
    tables = run(model, tokens).tables
    _, cache = model.run_with_cache(tokens)
    stream, writes = tables["Stream"], tables["Writes"]
    assert list(stream["place"]) == ["embedding", "0 mid", "0 post", "1 mid", "1 post"]
    assert list(writes["branch"]) == ["0 attn", "0 mlp", "1 attn", "1 mlp"]
    assert math.isclose(stream["length"][3], cache["blocks.1.hook_resid_mid"].norm(dim=-1).mean(), rel_tol=1e-9)
    assert math.isclose(writes["length"][3], cache["blocks.1.hook_mlp_out"].norm(dim=-1).mean(), rel_tol=1e-9)
    ratio = cache["blocks.1.hook_mlp_out"].norm(dim=-1) / cache["blocks.1.hook_resid_mid"].norm(dim=-1)
    assert math.isclose(writes["over_what_it_read"][3], ratio.mean(), rel_tol=1e-9)


def test_a_head_that_cannot_tell_keys_apart_is_even_and_one_that_can_is_not():
    model = order_one_model()
    with torch.no_grad():
        model.blocks[0].attn.W_Q[2], model.blocks[0].attn.b_Q[2] = 0, 0
    heads = run(model, random_tokens()).tables["Heads"].set_index("head")
    assert heads.loc["L0H2", "entropy_share"] == pytest.approx(1)
    assert (heads.drop("L0H2")["entropy_share"] < 0.999).all()
    assert heads.loc["L0H2", "qk_norm"] == 0


@pytest.mark.parametrize("act_fn", ["relu", "gelu"])
def test_a_neuron_that_is_held_down_never_fires_and_is_not_called_dead(act_fn):
    model = order_one_model(act_fn=act_fn)
    before = run(model, random_tokens())
    with torch.no_grad():
        model.blocks[1].mlp.b_in[3] = -1000
    result = run(model, random_tokens())
    assert result.numbers["neurons_that_never_fired"] == before.numbers["neurons_that_never_fired"] + 1
    row = result.tables["Neurons"].iloc[1]
    assert row["tokens"] == 21
    assert row["silent_ones_fire_on_at_most"] == pytest.approx(1 - 0.05 ** (1 / 21))
    assert row["and_in_prompts_at_most"] == pytest.approx(1 - 0.05 ** (1 / 3))
    assert "does not make them dead" in result.verdict
    assert result.numbers["neurons_that_never_fired"] == (result.tables["Neurons"]["never_fired"]).sum()


def test_an_outlier_dimension_is_found_by_its_number():
    model = order_one_model()
    assert run(model, random_tokens()).numbers["outlier_dimensions"] == 0
    with torch.no_grad():
        model.embed.W_E[:, 5] = 100
    result = run(model, random_tokens())
    assert result.tables["Stream"]["largest_dimension"][0] == 5
    assert result.tables["Stream"]["outlier_dimensions"][0] == 1
    assert "dimension 5 most" in result.verdict
    assert result.tables["Stream"]["kurtosis"][0] == pytest.approx(12 - 2 + 1 / 11, rel=0.05)
    assert run(model, random_tokens(), Options(outlier=1000.0)).numbers["outlier_dimensions"] == 0


def test_every_matrix_of_the_model_is_weighed_once():
    model = order_one_model(n_key_value_heads=2, gated_mlp=True)
    weights = run(model, random_tokens()).tables["Weights"]
    sizes = [parameter.numel() for name, parameter in model.named_parameters() if "W_" in name]
    assert sorted(weights["rows"] * weights["columns"]) == sorted(sizes)
    squares = weights["root_mean_square"] ** 2 * weights["rows"] * weights["columns"]
    expected = sum(float(p.square().sum().detach()) for name, p in model.named_parameters() if "W_" in name)
    assert math.isclose(squares.sum(), expected, rel_tol=1e-9)
    shapes = {(layer, name): matrix.shape for layer, name, matrix in matrices(model)}
    assert shapes[(1, "W_Q")] == (12, 24)
    assert shapes[(1, "W_O")] == (24, 12)
    assert shapes[(1, "W_K")] == (12, 12)
    W_Q = {(layer, name): matrix for layer, name, matrix in matrices(model)}[(1, "W_Q")]
    assert torch.equal(W_Q[:, 6:12], model.blocks[1].attn.W_Q[1])


def test_figures_show_what_the_tables_say():
    result = run(order_one_model(), random_tokens())
    stream, attention, mlp = result.figures["Lengths of the stream and of what is written"].data
    assert list(attention.x) == ["0 mid", "1 mid"]
    assert list(mlp.x) == ["0 post", "1 post"]
    assert np.allclose(stream.y, result.tables["Stream"]["length"], rtol=1e-3)
    grid = np.array(result.figures["Entropy of attention"].data[0].z)
    assert np.allclose(grid.flatten(), result.tables["Heads"]["entropy_share"], rtol=1e-3)
    for line in result.figures["How often neurons fire"].data:
        assert sum(line.y) == pytest.approx(1, abs=1e-3)


def test_a_window_of_one_key_is_told_and_one_prompt_has_no_interval():
    windows = {"use_local_attn": True, "window_size": 1, "attn_types": ("local", "local")}
    assert "nothing to choose between" in run(order_one_model(**windows), random_tokens()).verdict
    single = run(order_one_model(), random_tokens(1))
    require_valid(single)
    assert single.tables["Stream"]["length_low"].isna().all()


def test_what_is_not_finite_is_refused():
    model = order_one_model()
    run(model, torch.zeros(2, 4, dtype=torch.long))
    model.blocks[1].mlp.W_in.data[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"blocks\.1\.\S+ is not finite"):
        run(model, torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="outlier=1"):
        Options(outlier=1.0)
