import pytest
import torch

from analyses.attention_scores import Options, run
from analyses.errors import NotApplicableError, OptionError
from models import HookedTransformer, HookedTransformerConfig

from ..conftest import order_one_model, random_tokens, small_config

PAIRS, KEYS = "Pairs of writers", "Keys of the drawn query"
VARIANTS = [
    {},
    {"attn_only": True, "n_layers": 1, "n_heads": 1, "d_head": 12},
    {"normalization_type": None, "qkv_bias": False},
    {"normalization_type": "RMS", "use_normalization_before_and_after": True, "gated_mlp": True},
    {"n_key_value_heads": 2, "positional_embedding_type": "rotary", "parallel_attn_mlp": True},
    {"attention_dir": "bidirectional", "d_vocab_out": 5},
    {"attn_scores_soft_cap": 3.0, "output_logits_soft_cap": 5.0},
    {"use_local_attn": True, "window_size": 2, "attn_types": ("global", "local")},
    {"dtype": torch.bfloat16},
]


def induction_model(vocabulary: int = 11, length: int = 12, sharpness: float = 6.0) -> HookedTransformer:
    """L0H0 copies the previous token into slots of its own; L1H0 looks for its own token in those slots."""
    d_model, d_head = 2 * vocabulary + length, length
    config = HookedTransformerConfig(
        d_model=d_model, d_head=d_head, n_heads=2, n_layers=2, n_ctx=length, d_vocab=vocabulary, attn_only=True,
        normalization_type=None, attn_scale=1.0, qkv_bias=False, dtype=torch.float64, device="cpu",
    )  # fmt: skip
    model = HookedTransformer(config)
    token, copy, place = (torch.eye(d_model, dtype=torch.float64)[at] for at in _slots(vocabulary, length))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embed.W_E.copy_(token)
        model.pos_embed.W_pos.copy_(place)
        previous, induction = model.blocks[0].attn, model.blocks[1].attn
        previous.W_Q[0] = sharpness * place.T @ torch.eye(length, d_head, dtype=torch.float64).roll(-1, dims=1)
        previous.W_K[0] = sharpness * place.T @ torch.eye(length, d_head, dtype=torch.float64)
        previous.W_V[0] = token.T @ torch.eye(vocabulary, d_head, dtype=torch.float64)
        previous.W_O[0] = torch.eye(d_head, vocabulary, dtype=torch.float64) @ copy
        induction.W_Q[0] = sharpness * token.T @ torch.eye(vocabulary, d_head, dtype=torch.float64)
        induction.W_K[0] = sharpness * copy.T @ torch.eye(vocabulary, d_head, dtype=torch.float64)
        model.unembed.W_U.copy_(token.T)
    return model


def _slots(vocabulary, length):
    return slice(vocabulary), slice(vocabulary, 2 * vocabulary), slice(2 * vocabulary, 2 * vocabulary + length)


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: "-".join(map(str, changes)) or "plain")
def test_the_terms_sum_to_the_score_on_every_architecture(changes):
    result = run(order_one_model(**changes), random_tokens())
    assert [identity.holds for identity in result.identities] == [True]
    assert ("capped at 3" in result.verdict) == ("attn_scores_soft_cap" in changes)


def test_k_composition_with_the_previous_token_head_is_found_in_a_hand_built_induction_model():
    model = induction_model()
    tokens = torch.stack([torch.randperm(11, generator=torch.Generator().manual_seed(i))[:6].repeat(2) for i in (1, 2)])
    result = run(model, tokens)
    assert result.numbers["head"] == "L1H0"
    assert result.numbers["strongest_pair"] == "embed at the query × L0H0 at the key"
    # The query's token times its copy: sharpness squared where they meet, zero at every other key.
    assert result.numbers["strongest_pair_score"] == pytest.approx(36, rel=1e-6)
    assert result.numbers["score_above_the_other_keys"] == pytest.approx(36, rel=1e-6)
    query, key = result.numbers["query_position"], result.numbers["key_position"]
    assert key == query - 5
    assert "the query's own token, one copy earlier" in result.verdict
    assert "on what followed an earlier copy of the query's token" in result.verdict


def test_a_head_that_reads_the_query_itself_is_not_said_to_read_an_earlier_copy():
    model, tokens = (
        induction_model(),
        torch.randperm(11, generator=torch.Generator().manual_seed(1))[:6].repeat(2)[None],
    )
    model.blocks[0].attn.W_Q.data[0] = 6 * torch.eye(34, 12, dtype=torch.float64).roll(22, dims=0)
    result = run(model, tokens, Options(layer=1, head=0, query=4))
    assert result.numbers["key_position"] == result.numbers["query_position"] == 4
    assert "at itself (position 4" in result.finding
    assert "At that key L0H0 had looked at" in result.verdict
    assert ": the query itself." in result.verdict
    assert "one copy earlier" not in result.verdict


def test_a_head_of_the_first_layer_that_looks_there_by_position_is_no_induction_head():
    model = induction_model()
    tokens = torch.randperm(11, generator=torch.Generator().manual_seed(1))[:6].repeat(2)[None]
    place = torch.eye(34, dtype=torch.float64)[_slots(11, 12)[2]]
    first = model.blocks[0].attn
    # Five back is what followed the copy, as long as copies are six apart: it scores higher than the real one.
    first.W_Q.data[1] = 20 * place.T @ torch.eye(12, dtype=torch.float64).roll(-5, dims=1)
    first.W_K.data[1] = 20 * place.T @ torch.eye(12, dtype=torch.float64)
    pattern = model.run_with_cache(tokens)[1]["pattern", 0][0, 1]
    assert float(pattern[11, 6]) > 0.99
    assert run(model, tokens).numbers["head"] == "L1H0"


def test_without_an_induction_head_the_most_peaked_head_is_taken():
    model = order_one_model()
    model.blocks[1].attn.W_Q.data[2] *= 8
    result = run(model, random_tokens())
    assert "most peaked" in result.verdict
    model.blocks[1].attn.W_Q.data[2] = 0
    assert run(model, random_tokens()).numbers["head"] != "L1H2"


def test_an_untrained_model_is_not_asked_at_a_query_that_sees_two_keys_or_looks_at_itself():
    for seed in range(6):
        model = HookedTransformer(small_config(seed=seed))
        result = run(model, random_tokens())
        assert "other than the first and the query's own" in result.verdict
        query, key = result.numbers["query_position"], result.numbers["key_position"]
        assert query >= 3
        assert 0 < key < query


def test_where_no_query_sees_another_key_the_most_peaked_one_is_still_found():
    assert run(order_one_model(), random_tokens(length=2)).numbers["query_position"] == 1
    narrow = order_one_model(use_local_attn=True, window_size=2, attn_types=("local", "local"))
    result = run(narrow, random_tokens())
    assert result.numbers["query_position"] >= 2
    asked = run(order_one_model(), random_tokens(), Options(query=1))
    assert "other than the first is the most peaked" in asked.verdict


def test_the_head_and_query_asked_for_are_taken_and_their_scores_are_the_model_s():
    model, tokens = order_one_model(), random_tokens()
    result = run(model, tokens, Options(layer=1, head=2, drawn_prompt=1, query=4, writers=3))
    scores = model.run_with_cache(tokens)[1]["attn_scores", 1][1, 2, 4, :5].detach()
    keys, pairs = result.tables[KEYS], result.tables[PAIRS]
    torch.testing.assert_close(torch.tensor(keys.score.to_numpy()), scores)
    best = int(scores.argmax())
    others = torch.cat([scores[:best], scores[best + 1 :]]).mean()
    assert pairs.difference.sum() == pytest.approx(float(scores[best] - others))
    assert pairs.score_at_the_key.sum() == pytest.approx(float(scores[best]))
    assert pairs.mean_of_other_keys.sum() == pytest.approx(float(others))
    assert set(pairs.query_writer) <= {*pairs.query_writer.cat.categories}
    # Three writers and the others on each side, and what softmax drops on the key's.
    assert len(pairs) == 4 * 5
    assert "Head and query were asked for." in result.verdict


def test_what_softmax_drops_makes_no_difference():
    pairs = run(order_one_model(), random_tokens(), Options(layer=1, head=2, writers=99)).tables[PAIRS]
    dropped = pairs[pairs.dropped_by_softmax]
    assert float(dropped.difference.abs().max()) < 1e-12
    assert float(dropped.score_at_the_key.abs().max()) > 1e-3
    assert set(dropped.key_writer) == {"same for every key"}
    # A writer that writes nothing at all is not said to be dropped.
    bare = run(order_one_model(normalization_type=None, qkv_bias=False, n_layers=1), random_tokens())
    assert not bare.tables[PAIRS].dropped_by_softmax.any()
    assert "Softmax drops" not in bare.verdict


def test_the_mean_over_prompts_is_that_of_the_differences():
    model, tokens = order_one_model(), random_tokens()
    options = [Options(layer=1, head=2, query=5, drawn_prompt=prompt, writers=99) for prompt in range(3)]
    tables = [run(model, tokens, option).tables[PAIRS].set_index(["query_writer", "key_writer"]) for option in options]
    pair = ("embed", "L0 MLP")
    assert tables[0].mean_over_prompts[pair] == pytest.approx(sum(table.difference[pair] for table in tables) / 3)


def test_the_figures_show_the_tables():
    result = run(order_one_model(), random_tokens())
    pairs = result.tables[PAIRS].set_index(["query_writer", "key_writer"])
    trace = result.figures["What prefers the most attended key"].data[0]
    assert trace.z[1][2] == pairs.difference[(trace.y[1], trace.x[2])]
    assert list(result.figures["Where the query looks"].data[0].y) == list(result.tables[KEYS].attention)


def test_one_prompt_has_no_interval():
    assert "no interval can be given" in run(order_one_model(), random_tokens(1)).verdict


def test_what_cannot_be_asked_is_refused():
    model, tokens = order_one_model(), random_tokens()
    with pytest.raises(NotApplicableError, match="no sum of what was written"):
        run(order_one_model(norm_placement="post"), tokens)
    with pytest.raises(NotApplicableError, match="no query sees two keys"):
        run(order_one_model(use_local_attn=True, window_size=1, attn_types=("local", "local")), tokens)
    for wrong, message in [
        ({"layer": 2}, "layer 2 is not there: there are 2"),
        ({"head": 4}, "head 4 is not there: there are 4"),
        ({"drawn_prompt": 3}, "prompt 3 is not there: there are 3"),
        ({"query": 7}, "query 7 is not there: there are 7"),
        ({"query": 0}, "query 0 sees a single key"),
    ]:
        with pytest.raises(OptionError, match=message):
            run(model, tokens, Options(**wrong))
    with pytest.raises(ValueError, match="head=-1 counts from 0"):
        Options(head=-1)
    run(model, tokens, Options(layer=1, head=3, drawn_prompt=2, query=6))
