import pytest
import torch

from analyses.engine_wording import VERIFIED_AGAIN
from analyses.errors import NotApplicableError, OptionError
from analyses.model_source import ModelSource
from analyses.patching import Options, run, run_pair
from analyses.patching_pairs import nearest_pairs, repeated_pairs
from analyses.prompts import pair
from analyses.report.build import build
from interp.engine.wavefront import Wavefront
from interp.errors import DegenerateBaselineError, TokensError, VerificationError
from interp.hooks import edited
from interp.pairing import require_gap

from ..conftest import order_one_model, random_tokens
from ..interp.induction_model import induction_model
from ..models.word_tokenizer import word_tokenizer

STREAM = "stream before the block"


def telling_model(**changes):
    """A model of random weights that happens to tell the pairs apart."""
    return order_one_model(seed=1, **changes)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_in_a_hand_made_induction_model_the_induction_head_carries_everything(direction):
    result = run(induction_model(), torch.zeros(2, 5, dtype=torch.long), Options(direction=direction, pairs=8))
    heads = result.tables["By head"].set_index("head")["share"]
    assert heads["L1H0"] == pytest.approx(1.0)
    assert heads.drop("L1H0").abs().max() < 1e-9
    assert result.numbers["strongest_head"] == "L1H0"
    assert result.finding.startswith(
        f"Of the heads, L1H0 alone {'brings back' if direction == 'denoising' else 'takes'}"
    )
    # What differs is token 3 of 6; the last position has the difference only once the head has read it there.
    stream = result.tables["By layer and position"]
    share = stream[stream["place"] == STREAM].set_index(["layer", "position"])["share"]
    assert share[0, 3] == pytest.approx(1.0)
    assert share[1, 3] == pytest.approx(1.0)
    assert share[1, 8] == pytest.approx(0.0, abs=1e-9)
    assert "before blocks 0 to 1 at “3: token 3 → other”" in result.verdict
    assert all(identity.holds for identity in result.identities)
    assert len(result.identities) == 4


def test_random_tokens_that_begin_again_differ_only_in_what_the_answer_is():
    model = order_one_model()
    pairs = repeated_pairs(model, 5, seed=3)
    again = 3
    assert pairs.clean.shape == (5, 6 + again)
    assert torch.equal(pairs.clean[:, :again], pairs.clean[:, 6:])
    assert torch.equal(pairs.answer, pairs.clean[:, again])
    assert torch.equal(pairs.wrong, pairs.corrupted[:, again])
    differs = (pairs.clean != pairs.corrupted).any(dim=0).nonzero().flatten().tolist()
    assert differs == [again]
    assert not bool((pairs.clean == pairs.wrong[:, None]).any())
    assert all(len(set(row.tolist())) == 6 for row in pairs.clean[:, :6])
    assert torch.equal(repeated_pairs(model, 5, seed=3).clean, pairs.clean)
    assert not torch.equal(repeated_pairs(model, 5, seed=4).clean, pairs.clean)


def test_the_start_token_comes_first_and_is_never_drawn():
    model = order_one_model(n_ctx=13, d_vocab=17)
    model.set_tokenizer(word_tokenizer())
    pairs = repeated_pairs(model, 4, seed=0)
    assert pairs.labels[0] == "0: start"
    assert bool((pairs.clean[:, 0] == model.tokenizer.bos_token_id).all())
    assert not bool(torch.isin(pairs.clean[:, 1:], torch.tensor(model.tokenizer.all_special_ids)).any())


def test_a_context_too_short_to_repeat_takes_the_given_prompts_in_pairs():
    model = telling_model(n_ctx=4)
    with pytest.raises(TokensError, match="context of 4 tokens is too short"):
        repeated_pairs(model, 4, seed=0)
    # Two pairs differ in the second token alone, two in both. The first row comes twice; [1, 7, 9] stays alone.
    rows = torch.tensor([[1, 5, 9, 2], [1, 5, 9, 2], [1, 6, 9, 7], [1, 7, 9, 3], [3, 5, 9, 3], [3, 7, 9, 4]])
    labels = [[str(token) for token in row] for row in rows.tolist()]
    pairs = nearest_pairs(rows, labels, 4)
    assert pairs.clean.tolist() == [[1, 5, 9], [3, 5, 9]]
    assert pairs.corrupted.tolist() == [[1, 6, 9], [3, 7, 9]]
    assert (pairs.answer.tolist(), pairs.wrong.tolist()) == ([2, 3], [7, 4])
    assert pairs.labels == ("0: the same in a pair", "1: differs", "2: 9")
    assert nearest_pairs(rows, labels, 1).labels == ("0: 1", "1: differs", "2: 9")
    for one, other in zip(pairs.clean, pairs.corrupted, strict=True):
        assert (one != other).tolist() == [False, True, False]
    with pytest.raises(NotApplicableError, match="no two that differ end in different tokens"):
        nearest_pairs(rows[[0, 1]], labels, 3)


def test_no_prompt_is_in_two_pairs():
    rows = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    rows = torch.cat([rows, torch.full((25, 1), 9), rows.sum(dim=1, keepdim=True) % 5], dim=1)
    pairs = nearest_pairs(rows, [[str(token) for token in row] for row in rows.tolist()], 16)
    prompts = torch.cat([pairs.clean, pairs.corrupted])
    assert len(pairs.clean) >= 8
    assert len(prompts.unique(dim=0)) == len(prompts)


def test_prompts_that_differ_in_more_are_taken_where_too_few_differ_in_less():
    both = [[at, at + 1, 9, at] for at in range(16)]
    rows = torch.tensor([*both, [0, 2, 9, 3]])
    labels = [[str(token) for token in row] for row in rows.tolist()]
    pairs = nearest_pairs(rows, labels, 8)
    assert len(pairs.clean) == 8
    assert pairs.labels == ("0: differs", "1: differs", "2: 9")
    assert bool((pairs.answer != pairs.wrong).all())
    # Of these there are enough that differ in one token only.
    more = torch.tensor([[0, at, 9, at] for at in range(16)])
    assert nearest_pairs(more, [[str(token) for token in row] for row in more.tolist()], 8).labels[0] == "0: 0"


def test_the_given_prompts_are_what_a_model_of_a_short_context_is_asked_about():
    model, rows = order_one_model(n_ctx=4, attn_only=True), random_tokens(12, 4)
    # The model is taught nothing; its own predictions are what the prompts end in, so that it tells them apart.
    rows[:, -1] = model(rows[:, :3])[:, -1].argmax(dim=-1)
    result = run(model, rows)
    assert "among the given prompts" in result.verdict
    assert set(result.tables["By layer and position"]["place"]) == {STREAM, "attention writes"}


def test_a_model_that_does_not_tell_the_pairs_apart_is_said_so_with_both_values():
    model = order_one_model(n_layers=1)
    model.unembed.W_U.data.zero_()
    model.unembed.b_U.data.zero_()
    with pytest.raises(NotApplicableError, match=r"logit difference is 0 on the clean and 0 on the corrupted.*--clean"):
        run(model, random_tokens())


def test_a_given_pair_is_compared_on_what_the_model_says_after_each():
    model = order_one_model()
    clean, corrupted = random_tokens(1, 6, seed=1)[0], random_tokens(1, 6, seed=2)[0]
    said = model(torch.stack([clean, corrupted]))[:, -1].detach()
    top = said.argmax(dim=-1)
    result = run_pair(model, clean, corrupted)
    assert result.numbers["metric_clean"] == pytest.approx(float(said[0, top[0]] - said[0, top[1]]))
    assert result.numbers["metric_corrupted"] == pytest.approx(float(said[1, top[0]] - said[1, top[1]]))
    assert "there is no interval" in result.verdict
    assert "p =" not in result.finding
    assert result.tables["By head"]["share_low"].isna().all()
    assert run(model, torch.stack([clean, corrupted]), Options(paired=True)).verdict == result.verdict
    with pytest.raises(OptionError, match="paired asks for two prompts, clean and corrupted; given were 3"):
        run(model, random_tokens(), Options(paired=True))
    with pytest.raises(TokensError, match=r"clean,     6 tokens.*\n.*corrupted, 5 tokens"):
        run_pair(model, clean, corrupted[:5])
    with pytest.raises(DegenerateBaselineError, match=r"prompt 0 is the same"):
        run_pair(model, clean, clean)


def test_prompts_after_which_the_model_says_the_same_are_compared_by_divergence():
    model = order_one_model()
    model.unembed.b_U.data[5] = 12.0
    result = run_pair(
        model, random_tokens(1, 6, seed=1)[0], random_tokens(1, 6, seed=2)[0], Options(metric="divergence")
    )
    assert "KL(reference || model), nats 0 clean" in result.finding
    same = run_pair(model, random_tokens(1, 6, seed=1)[0], random_tokens(1, 6, seed=2)[0])
    assert same.finding == result.finding
    assert "both call for “5”, so whole predictions are compared" in same.verdict


def test_a_head_that_chance_would_explain_is_not_asserted():
    # Three pairs: no p can be below 0.25, whatever the shares are.
    few = run(induction_model(), torch.zeros(2, 5, dtype=torch.long), Options(pairs=3))
    assert few.finding.startswith("No single head brings back the difference")
    assert "beyond chance; the nearest, L1H0, 100% of it" in few.finding
    assert few.headline.startswith("no single head brings back what tells")
    assert "(p = 0.25)" in few.headline
    assert "none can be told from chance: with 3 pairs no p is below 0.25." in few.verdict
    enough = run(induction_model(), torch.zeros(2, 5, dtype=torch.long), Options(pairs=8))
    assert enough.headline.startswith("L1H0 alone brings back 100% of what tells")
    assert enough.headline.endswith("(p = 0.0078)")
    seen = []
    for seed in range(12):
        try:
            result = run(order_one_model(seed=seed), random_tokens(), Options(pairs=8))
        except NotApplicableError:
            continue
        heads = result.tables["By head"]
        certain = (heads["p_adjusted"] < 0.05) & ((heads["share_low"] > 0) | (heads["share_high"] < 0))
        assert result.headline.startswith("no single head") == (not certain.any())
        assert result.finding.startswith("No single head") == (not certain.any())
        seen.append(bool(certain.any()))
    assert False in seen


def test_a_difference_of_rounding_is_called_so():
    clean, corrupted = torch.full((2,), 0.25), torch.full((2,), 0.26)
    with pytest.raises(DegenerateBaselineError, match=r"0\.01 is no more than .* rounding explains \(0\.012\)"):
        require_gap(clean, corrupted, torch.tensor([0.002, 0.004]), "metric")
    with pytest.raises(DegenerateBaselineError, match="there is no difference that a patch could bring back"):
        require_gap(clean, clean, torch.zeros(2), "metric")
    require_gap(clean, corrupted, torch.tensor([0.001, 0.002]), "metric")


def test_texts_and_their_answers_are_tokens():
    model = order_one_model()
    model.set_tokenizer(word_tokenizer())
    words = {"clean": "the cat sat on the", "corrupted": "the dog sat on the"}
    result = run(model, random_tokens(), Options(**words, answer="mat", wrong="tree"))
    logits = model(model.to_tokens(words["clean"]))[0, -1].detach()
    mat, tree = (model.to_single_token(word) for word in ("mat", "tree"))
    assert result.numbers["metric_clean"] == pytest.approx(float(logits[mat] - logits[tree]))
    assert "“mat” is set against “tree” (as given)" in result.verdict
    assert "2: cat → dog" in set(result.tables["By layer and position"]["token"])
    with pytest.raises(OptionError, match=r"'mat tree' must be a single token of the model; it is 2: \[mat\] \[tree\]"):
        run(model, random_tokens(), Options(**words, answer="mat tree"))
    for wrong in ({"clean": "a"}, {"answer": "mat"}, {"pairs": 0}, {**words, "paired": True}):
        with pytest.raises(ValueError, match=r"one of them is missing|which are missing|pairs=0 must be|not both"):
            Options(**wrong)


def test_dead_cells_have_no_colour_and_the_figure_shows_the_table():
    result = run(induction_model(), torch.zeros(2, 5, dtype=torch.long), Options(pairs=4))
    table = result.tables["By layer and position"]
    drawn = result.figures["By layer and position"].select_traces({"type": "heatmap"})
    for trace, (_, rows) in zip(drawn, table.groupby("place", sort=False), strict=True):
        flat = torch.tensor(trace.z).flatten()
        assert flat.isnan().tolist() == rows["dead"].tolist()
        assert torch.allclose(flat.nan_to_num(), torch.tensor(rows["share"].to_numpy()), atol=1e-3)
    heads, drawn = result.tables["By head"], result.figures["By head"].data[0].z.flatten()
    assert list(drawn[~heads["dead"]]) == pytest.approx(list(heads["share"][~heads["dead"]]), abs=1e-3)
    bars = result.figures["Strongest cells"].data[0]
    assert list(bars.x) == list(result.tables["Strongest cells"]["share"])


def test_what_is_beyond_chance_is_marked_and_counted():
    result = run(induction_model(), torch.zeros(2, 5, dtype=torch.long), Options(pairs=8))
    heads, positions = result.tables["By head"], result.tables["By layer and position"]
    for table in (heads, positions):
        outside = (table["share_low"] > 0) | (table["share_high"] < 0)
        assert list(table["beyond_chance"]) == list((table["p_adjusted"] < 0.05) & outside)
    n_certain = int(heads["beyond_chance"].sum() + positions["beyond_chance"].sum())
    assert result.numbers["cells_beyond_chance"] == n_certain > 2
    assert f"{n_certain} are beyond chance, marked by a dot in the maps (p < 0.05" in result.verdict
    assert "with 8 pairs no p is below 0.0078" in result.verdict
    dots = list(result.figures["By layer and position"].select_traces({"type": "scatter"}))
    for trace, (_, rows) in zip(dots, positions.groupby("place", sort=False), strict=True):
        marked = rows[rows["beyond_chance"]]
        assert list(zip(trace.y, trace.x, strict=True)) == [
            (f"L{row.layer}", row.position) for row in marked.itertuples()
        ]
    texts = result.figures["By head"].data[0].text.flatten()
    assert [text.startswith("●") for text in texts] == list(heads["beyond_chance"])
    bars, top = result.figures["Strongest cells"].data[0], result.tables["Strongest cells"]
    assert [opacity == 1.0 for opacity in bars.marker.opacity] == list(top["beyond_chance"])


def test_an_effect_below_the_noise_floor_is_not_beyond_chance(monkeypatch):
    ready = run(induction_model(), torch.zeros(2, 5, dtype=torch.long), Options(pairs=8))
    assert ready.tables["By head"]["beyond_chance"].sum() == 1
    monkeypatch.setattr(Wavefront, "noise_floor", property(lambda self: torch.full((1, 8), 1e6, dtype=torch.float64)))
    drowned = run(induction_model(), torch.zeros(2, 5, dtype=torch.long), Options(pairs=8))
    assert not drowned.tables["By head"]["beyond_chance"].any()
    assert drowned.numbers["noise_floor"] == 1e6
    assert drowned.finding.startswith("No single head")


def test_the_exact_engine_runs_the_maps_and_an_engine_that_errs_is_no_result(monkeypatch):
    clean, corrupted = random_tokens(1, 6, seed=1)[0], random_tokens(1, 6, seed=2)[0]
    model = order_one_model()
    assert "Run on the exact engine" in run_pair(model, clean, corrupted).verdict
    with edited(model, {"blocks.1.hook_resid_post": lambda stream: stream}):
        hooked = run_pair(model, clean, corrupted)
    assert "Run with one forward pass for each cell" in hooked.verdict
    assert VERIFIED_AGAIN not in [identity.statement for identity in hooked.identities]
    part = Wavefront.part
    monkeypatch.setattr(Wavefront, "part", lambda self, chunk: part(self, chunk) + 1e-3)
    with pytest.raises(VerificationError, match=r"differs by 0\.001"):
        run_pair(model, clean, corrupted)


def test_an_identity_that_breaks_is_seen():
    # A hook that turns the stream in every second run only: the patched runs are no longer those of the cache.
    model, times = telling_model(), iter(range(10**6))
    with edited(model, {"blocks.1.hook_resid_post": lambda stream: stream.roll(next(times) % 2, dims=2)}):
        result = run_pair(model, random_tokens(1, 6, seed=1)[0], random_tokens(1, 6, seed=2)[0])
    assert not all(identity.holds for identity in result.identities)


@pytest.mark.parametrize(
    "changes",
    [
        {"normalization_type": "RMS", "positional_embedding_type": "rotary", "n_key_value_heads": 2},
        {"norm_placement": "post"},
        {"parallel_attn_mlp": True, "tie_word_embeddings": True},
        {"attention_dir": "bidirectional", "normalization_type": "ScaleNorm"},
        {"n_layers": 1, "n_heads": 1, "attn_only": True},
        {"output_logits_soft_cap": 5.0, "attn_scores_soft_cap": 3.0, "dtype": torch.float32},
    ],
    ids=str,
)
def test_every_kind_of_model_is_answered(changes):
    model = order_one_model(**changes)
    clean, corrupted = random_tokens(1, 6, seed=1)[0], random_tokens(1, 6, seed=2)[0]
    result = run_pair(model, clean, corrupted, Options(metric="log-probability"))
    assert all(identity.holds for identity in result.identities)
    assert result.tables["By head"]["share"].notna().all()


def test_outputs_that_are_no_tokens_are_not_asked():
    with pytest.raises(NotApplicableError, match="its 5 outputs are not the 17 tokens it reads"):
        run(order_one_model(d_vocab_out=5), random_tokens())


def test_the_report_on_a_pair_patches_that_pair(model_folder):
    source = ModelSource("tiny", model_folder)
    model = source.load()
    given = pair(model, "one two three four", "one two five four")
    panel = build(model, source, given, paired=True, names=["patching"]).panels[1]
    assert panel.parts[0].result.verdict == run_pair(model, *given.tokens).verdict
    assert panel.options["paired"] is True
    assert build(model, source, given, names=["patching"]).panels[0].options["paired"] is False
