import math

import numpy as np
import pytest
import torch

from analyses.patterns import Options, run
from analyses.rendering import require_valid

from ..conftest import order_one_model, random_tokens
from ..interp.induction_model import induction_model


def test_the_verdict_says_how_widely_the_heads_look():
    result = run(induction_model(), random_tokens(2, 8, d_vocab=7))
    even = math.exp(sum(map(math.log, range(3, 9))) / 6)
    assert result.finding.startswith("The sharpest head, L0H0, looks at 1.0 (1.0 to 1.0) keys at a time, the widest,")
    assert f"attention spread evenly would be on {even:.1f}." in result.finding
    assert result.headline.startswith("the sharpest head, L0H0, looks at 1.0 keys at a time")
    assert result.numbers["effective_keys_of_even_attention"] == pytest.approx(even)
    require_valid(result)
    assert [identity.error < 1e-12 for identity in result.identities] == [True, True]


def test_a_head_that_rests_on_the_first_token_is_told():
    model, tokens = order_one_model(), random_tokens()
    model.add_hook("blocks.1.attn.hook_pattern", lambda pattern, hook: torch.eye(7).double()[0].expand_as(pattern))
    result = run(model, tokens)
    said = "4 of 8 heads give half of their attention or more to the first token; the most is 1.00 (1.00 to 1.00) of"
    assert f"{said} L1H0" in result.verdict
    assert "from where 100% of what it reads comes" in result.verdict


@torch.no_grad()
def test_the_figures_show_the_patterns_in_per_cent():
    model, tokens = order_one_model(), random_tokens()
    result = run(model, tokens, Options(drawn_prompt=2, positions=5))
    _, cache = model.run_with_cache(tokens)
    patterns = torch.stack([cache["pattern", layer][2, :, :5, :5] for layer in range(2)])
    mosaic = result.figures["All heads at a glance"].data[0].z
    assert mosaic.shape == (10, 20)
    # Layer 1, head 2: the second row and the third column of tiles.
    assert np.array_equal(mosaic[5:10, 10:15], (100 * patterns[1, 2]).round().numpy().astype(np.uint8))
    figure = result.figures["One head"]
    assert [trace.name for trace in figure.data[::2]] == [f"L{layer}H{head}" for layer in (0, 1) for head in range(4)]
    assert np.array_equal(figure.data[12].z, mosaic[5:10, 10:15])
    assert figure.data[13].z.max() == 100
    table = result.tables["Patterns of the drawn prompt"]
    row = table.query("head == 'L1H2' and query == 4 and key == 3").iloc[0]
    assert row["attention"] == round(float(patterns[1, 2, 4, 3]), 4)
    assert list(figure.layout.xaxis.ticktext) == [f"{at}: {int(tokens[2, at])}" for at in range(5)]


def test_each_button_shows_both_pictures_of_one_head_and_the_sharpest_is_shown_first():
    result = run(order_one_model(), random_tokens())
    figure, heads = result.figures["One head"], result.tables["Heads"]
    menu = figure.layout.updatemenus[0]
    for number, button in enumerate(menu.buttons):
        visible = button.args[0]["visible"]
        assert [trace.name for trace, seen in zip(figure.data, visible, strict=True) if seen] == [button.label] * 2
        assert visible == [trace.visible for trace in figure.data] or number != menu.active
    assert menu.buttons[menu.active].label == result.numbers["sharpest_head"]
    assert heads["effective_keys"].min() == result.numbers["its_effective_keys"]


def test_of_a_large_model_fewer_positions_and_heads_are_drawn(monkeypatch):
    monkeypatch.setattr("analyses.patterns.CELLS", 300)
    monkeypatch.setattr("analyses.patterns.LEAST_POSITIONS", 2)
    result = run(order_one_model(), random_tokens())
    assert result.figures["All heads at a glance"].data[0].z.shape == (2 * 6, 4 * 6)
    monkeypatch.setattr("analyses.patterns.LEAST_POSITIONS", 7)
    result = run(order_one_model(), random_tokens())
    sharpest = result.tables["Heads"].nsmallest(300 // 49, "effective_keys")["head"]
    assert {trace.name for trace in result.figures["One head"].data} == set(sharpest)


@pytest.mark.parametrize(
    "changes",
    [
        {"attn_only": True, "normalization_type": None},
        {"normalization_type": "RMS", "n_key_value_heads": 2, "positional_embedding_type": "rotary"},
        {"norm_placement": "post"},
        {"parallel_attn_mlp": True, "attention_dir": "bidirectional"},
        {"n_layers": 1, "n_heads": 1, "tie_word_embeddings": True, "attn_scores_soft_cap": 2.0},
        {"d_vocab_out": 5, "use_local_attn": True, "window_size": 3, "attn_types": ["global", "local"]},
        {"dtype": torch.float32, "use_normalization_before_and_after": True},
    ],
)
def test_every_architecture_is_drawn(changes):
    result = run(order_one_model(**changes), random_tokens())
    require_valid(result)
    single = changes.get("n_heads") == 1
    assert ("The one head looks at" in result.finding) == result.headline.startswith("the head looks at") == single
    assert ("It gives" in result.verdict) == single


def test_a_single_prompt_has_no_interval():
    result = run(order_one_model(), random_tokens(1))
    assert "(" not in result.finding
    assert not result.figures["How widely each head looks"].data[0].error_y.visible


def test_what_cannot_be_drawn_is_refused():
    model = order_one_model()
    with pytest.raises(ValueError, match="prompt 3 is not there: the batch has 3"):
        run(model, random_tokens(), Options(drawn_prompt=3))
    with pytest.raises(ValueError, match=r"from the third token on; tokens of shape \[3, 2\] lack it"):
        run(model, random_tokens(3, 2))
    run(model, random_tokens(3, 3), Options(drawn_prompt=2))
    for wrong in ({"positions": 0}, {"drawn_prompt": -1}):
        with pytest.raises(ValueError, match=r"counts from 0, and positions=.* must be at least 1"):
            Options(**wrong)
