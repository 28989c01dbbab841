import math

import pytest
import torch

from analyses.circuit_tables import bias_table, top_tokens
from analyses.circuits import Options, run
from analyses.folded import folded_copy

from ..conftest import order_one_model, random_tokens


def test_folding_changes_nothing_the_model_says_and_leaves_the_model_alone():
    model, tokens = order_one_model(tie_word_embeddings=True), random_tokens()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded, sentence = folded_copy(model)
    torch.testing.assert_close(folded(tokens), model(tokens))
    assert "were folded" in sentence
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "cannot be folded" in folded_copy(order_one_model(norm_placement="post"))[1]
    assert "no norms" in folded_copy(order_one_model(normalization_type=None))[1]


def test_weights_are_read_after_the_norm_is_folded_into_them():
    model, tokens = order_one_model(), random_tokens()
    folded, _ = folded_copy(model)
    table = run(model, tokens).tables["Singular values"]
    for circuit, product in (
        ("QK", folded.W_Q[1, 2] @ folded.W_K[1, 2].T),
        ("OV", folded.W_V[1, 2] @ folded.W_O[1, 2]),
    ):
        shown = table[(table["head"] == "L1H2") & (table["circuit"] == circuit)].singular_value
        torch.testing.assert_close(torch.tensor(shown.to_numpy()), torch.linalg.svdvals(product)[:6].detach())
    unfolded = torch.linalg.svdvals(model.W_Q[1, 2] @ model.W_K[1, 2].T)[:6].detach()
    shown = table[(table["head"] == "L1H2") & (table["circuit"] == "QK")].singular_value
    assert not torch.allclose(torch.tensor(shown.to_numpy()), unfolded, rtol=1e-3)


def test_the_full_circuits_are_those_of_the_first_layer_run_on_one_token():
    # A second road: the score of query token a and key token b, from a model without positions run on [b, a].
    model = order_one_model(positional_embedding_type="none", qkv_bias=False)
    model.blocks[0].ln1.b.data.zero_()
    folded, _ = folded_copy(model)
    found = top_tokens(folded, k=17, at_most=17)
    first = found.table[(found.table["head"] == "L0H3") & (found.table["circuit"] == "QK")]
    for row in list(first.itertuples())[:5]:
        tokens = torch.tensor([[int(row.to_token), int(row.from_token)]])
        _, cache = model.run_with_cache(tokens)
        assert math.isclose(cache["blocks.0.attn.hook_attn_scores"][0, 3, 1, 0].item(), row.value, rel_tol=1e-9)


def test_scores_are_divided_by_the_scale_of_their_own_layer():
    flagged, plain = (order_one_model(scale_attn_by_inverse_layer_idx=flag) for flag in (True, False))
    flagged.load_state_dict(plain.state_dict())
    tops = [
        top_tokens(model, k=1, at_most=17).table.query("circuit == 'QK'").set_index("head")["value"]
        for model in (flagged, plain)
    ]
    assert tops[0]["L0H2"] == pytest.approx(tops[1]["L0H2"], rel=1e-12)
    assert tops[0]["L1H2"] == pytest.approx(tops[1]["L1H2"] / 2, rel=1e-12)
    # The first layer's scale is the same, so both second layers read the same stream.
    with torch.no_grad():
        biases = [bias_table(model, random_tokens()).set_index("head") for model in (flagged, plain)]
    for column in ("score_std_without_biases", "kept_by_softmax_std", "dropped_by_softmax_std"):
        assert biases[0][column]["L0H2"] == pytest.approx(biases[1][column]["L0H2"], rel=1e-12)
        assert biases[0][column]["L1H2"] == pytest.approx(biases[1][column]["L1H2"] / 2, rel=1e-12)


def test_a_thinned_vocabulary_is_told_and_still_names_the_right_tokens():
    folded, _ = folded_copy(order_one_model())
    whole, thinned = top_tokens(folded, k=2, at_most=17), top_tokens(folded, k=2, at_most=6)
    assert (whole.n_tokens, thinned.n_tokens) == (17, 6)
    sources = set(thinned.table.from_token)
    assert sources <= {str(token) for token in range(0, 17, 3)}
    assert run(order_one_model(), random_tokens(), Options(vocabulary=6)).numbers["tokens_in_the_full_circuits"] == 6


def test_a_model_of_many_heads_is_read_on_fewer_tokens_unless_they_are_asked_for(monkeypatch):
    model = order_one_model()
    assert Options().tokens_for(model) == 4096
    monkeypatch.setattr("analyses.circuits.MOST_ENTRIES", 2 * 4 * 17 * 7)
    assert Options().tokens_for(model) == 7
    assert Options(top=9).tokens_for(model) == 9
    assert Options(vocabulary=11).tokens_for(model) == 11


def test_a_model_built_to_copy_is_found_and_one_of_noise_is_not():
    model, tokens = order_one_model(n_heads=2, d_head=5, attn_only=True), random_tokens()
    result = run(model, tokens)
    assert result.numbers["copying_heads"] == 0
    assert result.details[-1].startswith("The norms' weights were folded")
    assert "0 of 4 heads have a copying score" in result.verdict
    attention = model.blocks[1].attn
    model.unembed.W_U.data = model.W_E.T.detach().clone()
    attention.W_O.data[1] = attention.W_V.data[1].T
    for norm in (model.ln_final, model.blocks[1].ln1):
        norm.w.data.fill_(1.0)
    found = run(model, tokens)
    assert found.numbers["best_copying_head"] == "L1H1"
    # W_V W_V^T between an embedding and its transpose has no negative eigenvalue.
    assert math.isclose(found.numbers["best_copying_score"], 1.0, rel_tol=1e-9)


def test_composition_covers_every_pair_of_heads_in_different_layers_once():
    model = order_one_model(n_layers=3)
    table = run(model, random_tokens()).tables["Composition"]
    assert len(table) == 3 * (3 * 4 * 4)
    assert not table.duplicated(["mode", "writer", "reader"]).any()
    assert (table.writer.str[1].astype(int) < table.reader.str[1].astype(int)).all()
    folded, _ = folded_copy(model)
    expected = folded.all_composition_scores("K")[0, 1, 2, 3].item()
    row = table[(table["mode"] == "K") & (table.writer == "L0H1") & (table.reader == "L2H3")]
    assert math.isclose(row.score.item(), expected, rel_tol=1e-9)


def test_the_composition_figure_shows_the_table():
    result = run(order_one_model(), random_tokens())
    table = result.tables["Composition"]
    for trace, mode in zip(result.figures["Composition above the baseline"].data, "QKV", strict=True):
        of_mode = table[table["mode"] == mode].set_index(["reader", "writer"]).excess
        for row, reader in enumerate(trace.y):
            for column, writer in enumerate(trace.x):
                assert trace.z[row][column] == of_mode[reader, writer]


def test_the_bias_that_softmax_drops_is_told_apart_from_the_one_it_keeps():
    model, tokens = order_one_model(), random_tokens()
    biases = run(model, tokens).tables["Bias terms"]
    assert (biases.kept_by_softmax_std > 0).all()
    model.blocks[0].ln1.b.data.zero_()
    model.blocks[0].attn.b_Q.data.zero_()
    biases = run(model, tokens).tables["Bias terms"]
    assert (biases.kept_by_softmax_std[:4] == 0).all()
    assert (biases.dropped_by_softmax_std > 0).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_layers": 1}, "There is no composition"),
        ({"d_vocab_out": 5}, "Copying is not defined here"),
        ({"positional_embedding_type": "rotary"}, "none drops out"),
        ({"n_key_value_heads": 2}, "Strongest composition"),
        ({"normalization_type": "RMS", "gated_mlp": True}, "were folded"),
        ({"d_head": 14}, "Of 12 possible directions"),
        ({"qkv_bias": False, "dtype": torch.float32}, "drop out of softmax"),
    ],
)
def test_other_models_are_read_too(changes, words):
    assert words in run(order_one_model(**changes), random_tokens()).verdict


def test_options_that_ask_for_nothing_are_refused():
    with pytest.raises(ValueError, match="top=0"):
        Options(top=0)
    with pytest.raises(ValueError, match="vocabulary=1 must be at least 2"):
        Options(vocabulary=1, top=1)
    with pytest.raises(ValueError, match="top=7 must be from 1 to vocabulary=6"):
        Options(top=7, vocabulary=6)
    assert Options(top=6, vocabulary=6).top == 6
    assert Options(top=1).top == 1


@torch.no_grad()
@pytest.mark.parametrize("positions", ["standard", "shortformer"])
def test_without_biases_the_scores_vary_as_the_hook_shows_them(positions):
    # Seen both ways, so that no score is hidden.
    model = order_one_model(positional_embedding_type=positions, qkv_bias=False, attention_dir="bidirectional")
    biases = bias_table(model, random_tokens())
    _, cache = model.run_with_cache(random_tokens())
    for layer in range(2):
        spread = cache[f"blocks.{layer}.attn.hook_attn_scores"].var(dim=-1, correction=0).mean(dim=(0, 2)).sqrt()
        assert biases.score_std_without_biases[4 * layer : 4 * layer + 4].tolist() == pytest.approx(spread.tolist())
