"""Prompt pairs as tokens: what is refused, what is kept, and what a model makes of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from transformer_lens.model_bridge import TransformerBridge

from interp.errors import DegenerateBaselineError, MetricError, TokensError
from interp.metrics import LogitDifference
from interp.statistics import over_prompts
from interp.sweep import sweep
from interp.tasks import Pair, ProbabilityDifference, PromptPairs, Task
from interp.tasks.vocabulary import of_one_length

from ..conftest import order_one_model
from .task_models import GPT2_VOCABULARY, gpt2_model, llama_like_model, word_model

FITTING = Pair("the cat sat", "the dog sat", "on", "under")


def task(*pairs: Pair) -> Task:
    return Task("mine", "some pairs", pairs)


def on(*pairs: Pair, **options: bool) -> PromptPairs:
    return task(*pairs).on(word_model(), **options)


def ids_task(n_prompts: int = 5, seed: int = 0) -> Task:
    rows = torch.randint(17, (n_prompts, 6), generator=torch.Generator().manual_seed(seed)).tolist()
    return Task(
        "ids",
        "random ids that differ at one position",
        tuple(Pair(tuple(row), (*row[:2], (row[2] + 1) % 17, *row[3:]), 3, 4) for row in rows),
    )


def test_the_tokens_are_those_of_the_model_and_the_answers_those_that_follow():
    model = word_model()
    pairs = task(FITTING, Pair("a tree fell", "a mat fell", "then", "and")).on(model)
    assert torch.equal(pairs.clean, model.to_tokens(["the cat sat", "a tree fell"]))
    assert torch.equal(pairs.corrupted, model.to_tokens(["the dog sat", "a mat fell"]))
    assert pairs.answer.tolist() == [model.to_single_token("on"), model.to_single_token("then")]
    assert pairs.wrong.tolist() == [model.to_single_token("under"), model.to_single_token("and")]
    assert pairs.tokens_clean == (("<s>", "the", "cat", "sat"), ("<s>", "a", "tree", "fell"))
    assert pairs.tokens_corrupted[1] == ("<s>", "a", "mat", "fell")
    assert (pairs.clusters, pairs.notes, len(pairs)) == ((), (), 2)


def test_the_start_token_is_there_where_the_model_is_used_to_it():
    without = word_model(default_prepend_bos=False)
    assert task(FITTING).on(without).tokens_clean == (("the", "cat", "sat"),)


def test_a_bridge_reads_the_same_tokens_as_our_model():
    ours = word_model(one_special=True)
    config = {"n_layers": 1, "n_heads": 2, "d_model": 8, "d_head": 4, "d_mlp": 8, "d_vocab": 17, "n_ctx": 9}
    bridge = TransformerBridge.boot_native({**config, "act_fn": "gelu", "normalization_type": "LN", "seed": 0})
    bridge.tokenizer = ours.tokenizer
    bridge.cfg.default_prepend_bos, bridge.cfg.tokenizer_prepends_bos = True, False
    theirs = task(FITTING).on(bridge)
    assert torch.equal(theirs.clean, task(FITTING).on(ours).clean)
    assert theirs.baseline(bridge).clean.shape == (1,)


def test_20_prompts_without_partners_are_refused_with_both_token_rows():
    longer = Pair("the cat sat", "the dog sat on", "on", "under")
    with pytest.raises(TokensError, match=r"of the 3 pairs of mine these have not: 1, 2\n") as caught:
        on(FITTING, longer, longer)
    assert "  clean 1, 4 tokens: [<s>] [the] [cat] [sat]\n" in str(caught.value)
    assert "  corrupted 1, 5 tokens: [<s>] [the] [dog] [sat] [on]" in str(caught.value)
    # Not a matter of the length that is most common.
    with pytest.raises(TokensError, match="these have not: 1"):
        on(FITTING, longer, most_common_length=True)
    on(FITTING)


def test_pairs_of_several_lengths_are_refused_or_the_most_common_is_taken_when_asked():
    short = Pair("the cat", "the dog", "sat", "ran", "short")
    longs = [Pair(f"the cat {verb}", f"the dog {verb}", verb, "under", "long") for verb in ("sat", "ran")]
    with pytest.raises(TokensError, match="most_common_length=True takes the 2 of 4 tokens") as caught:
        on(short, *longs)
    assert "  2 of 4 tokens, such as pair 1: [<s>] [the] [cat] [sat]\n  1 of 3 tokens, such as pair 0" in str(
        caught.value
    )
    kept = on(short, *longs, most_common_length=True)
    assert kept.tokens_clean == (("<s>", "the", "cat", "sat"), ("<s>", "the", "cat", "ran"))
    assert kept.answer_texts == (("sat",), ("ran",))
    assert kept.clusters == ("long", "long")
    assert kept.notes == ("1 of 3 pairs are left out: they have another number of tokens",)
    assert kept.notes[0] in repr(kept)
    assert on(*longs, most_common_length=True).notes == ()


def test_words_that_the_tokenizer_does_not_know_are_refused():
    for pair in (
        Pair("the zebra sat", "the dog sat", "on", "under"),
        Pair("the dog sat", "the zebra sat", "on", "under"),
    ):
        with pytest.raises(
            TokensError, match=r"prompt 1 of mine has words that the tokenizer does not know: \[<s>\] \["
        ):
            on(FITTING, pair)
    for pair in (Pair("the cat", "the dog", "barked", "sat"), Pair("the cat", "the dog", "sat", "barked")):
        with pytest.raises(TokensError, match="answer 'barked', which the tokenizer does not know"):
            on(pair)


def test_an_answer_must_be_one_token_and_the_error_shows_how_it_splits(shared):
    model = gpt2_model(shared)
    for answer, shown in (
        (" Hippopotamus", r"3: \[ Hipp\] \[opot\] \[amus\]"),
        (" Mary Jane", r"2: \[ Mary\] \[ Jane\]"),
    ):
        with pytest.raises(TokensError, match=f"pair 0 of mine has '{answer}', which is .*{shown}"):
            task(Pair("A gift to", "A gift from", answer, " John")).on(model)
    with pytest.raises(TokensError, match="which is 0: none"):
        task(Pair("A gift to", "A gift from", "", " John")).on(model)
    # Without its space it is another text, and several tokens.
    with pytest.raises(TokensError, match=r"has 'Sandra', .* Did you mean ' Sandra', with its space\?"):
        task(Pair("A gift to", "A gift from", "Sandra", " John")).on(model)
    pairs = task(Pair("A gift to", "A gift from", " Mary", " John")).on(model)
    # The ids that TransformerLens' own notebooks print.
    assert (pairs.answer.tolist(), pairs.wrong.tolist()) == ([5335], [1757])


def test_what_joins_with_the_prompt_to_one_token_is_read_on_its_own(shared):
    model = gpt2_model(shared)
    assert len(model.to_tokens(" 1984", prepend_bos=False)[0]) == 1
    pairs = task(Pair("In 19", "In 18", "84", "83")).on(model)
    assert model.to_string(pairs.answer) == "84"


def test_an_answer_is_the_token_that_it_is_behind_the_prompt_and_not_at_a_beginning():
    model = llama_like_model()
    assert len(model.to_tokens(" sat", prepend_bos=False)[0]) == 2
    pairs = task(Pair("the cat", "the dog", " sat", " ran")).on(model)
    assert (pairs.answer_texts, pairs.wrong_texts) == ((("▁sat",),), (("▁ran",),))


def test_a_right_answer_that_is_also_wrong_or_comes_twice_is_refused():
    with pytest.raises(TokensError, match=r"pair 0 of mine has the same answer and wrong answer: \[on\]"):
        on(Pair("the cat sat", "the dog sat", "on", "on"))
    with pytest.raises(TokensError, match=r"the same answer and wrong answer: \[on\]"):
        on(Pair("the cat sat", "the dog sat", ("then", "on"), ("on", "under")))
    with pytest.raises(TokensError, match=r"has a wrong answer twice: \[under\] \[under\]"):
        on(Pair("the cat sat", "the dog sat", "on", ("under", "under")))
    with pytest.raises(TokensError, match="has no answer"):
        on(Pair("the cat sat", "the dog sat", (), "on"))
    on(Pair("the cat sat", "the dog sat", ("then", "on"), ("and", "under")))


def test_the_same_prompt_twice_and_no_prompt_at_all_are_refused():
    with pytest.raises(DegenerateBaselineError, match="prompt 1 is the same clean and corrupted"):
        on(FITTING, Pair("the cat sat", "the cat sat", "on", "under"))
    with pytest.raises(TokensError, match="mine has no prompts"):
        on()
    with pytest.raises(TokensError, match="clean prompt 0 of mine has no tokens"):
        on(Pair("", "the", "on", "under"))


def test_a_prompt_longer_than_the_context_is_refused_and_never_cut():
    fits = " ".join(["the"] * 8)
    on(Pair(fits, f"{fits[:-3]}cat", "on", "under"))
    with pytest.raises(TokensError, match="clean prompt 0 of mine has 10 tokens, and the model reads 9 at most"):
        on(Pair(f"{fits} cat", f"{fits} dog", "on", "under"))


def test_templates_are_named_for_all_pairs_or_for_none():
    templated = Pair("the cat ran", "the dog ran", "on", "under", "cats")
    with pytest.raises(TokensError, match="1 of the 2 pairs of mine name no template, pair 1 first"):
        on(templated, FITTING)
    assert on(templated, templated).clusters == ("cats", "cats")


def test_token_ids_need_no_tokenizer_and_text_does():
    model = order_one_model()
    pairs = ids_task().on(model)
    assert pairs.clean.shape == (5, 6)
    assert pairs.tokens_clean[0] == tuple(map(str, pairs.clean[0].tolist()))
    with pytest.raises(TokensError, match="clean prompt 0 of mine is in words, and the model has no tokenizer"):
        task(FITTING).on(model)
    with pytest.raises(TokensError, match="an answer of pair 0 of mine is in words"):
        task(Pair((1, 2), (1, 3), "on", 4)).on(model)


def test_token_ids_are_whole_numbers_of_any_kind_that_the_model_has(as_users_run_it):
    model = order_one_model()
    for pair in (Pair((1, 17), (1, 2), 3, 4), Pair((1, 2), (1, 17), 3, 4), Pair((1, 2), (1, 3), 17, 4)):
        with pytest.raises(TokensError, match="has the token id 17; the model has 0 to 16"):
            task(pair).on(model)
    with pytest.raises(TokensError, match="token id -1"):
        task(Pair((1, -1), (1, 2), 3, 4)).on(model)
    with pytest.raises(TypeError, match="float"):
        task(Pair((1, 2.5), (1, 2), 3, 4)).on(model)
    task(Pair((1, 16), (1, 2), 3, 16)).on(model)
    arrays = task(Pair(np.array([1, 16]), torch.tensor([1, 2]), np.int64(3), [4, 5])).on(model)
    assert (arrays.clean.tolist(), arrays.wrong_sets) == ([[1, 16]], ((4, 5),))


def test_single_answers_are_set_against_each_other_by_logits_and_several_by_probability():
    single, several = on(FITTING), on(Pair("the cat sat", "the dog sat", ("on", "under"), "then"))
    assert isinstance(single.metric, LogitDifference)
    assert isinstance(several.metric, ProbabilityDifference)
    logits = torch.randn(1, 4, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    on_id, under, then = (word_model().to_single_token(word) for word in ("on", "under", "then"))
    assert_close(single.metric(logits)[0], logits[0, -1, on_id] - logits[0, -1, under])
    p = logits[0, -1].softmax(-1)
    assert_close(several.metric(logits)[0], p[on_id] + p[under] - p[then])
    assert_close(single.probability_difference(logits)[0], p[on_id] - p[under])
    with pytest.raises(MetricError, match="pair 0 of mine has 2 right tokens"):
        _ = several.answer
    assert several.wrong.tolist() == [then]


@settings(max_examples=6, deadline=None)
@given(n_prompts=st.integers(1, 40), seed=st.integers(0, 99))
def test_the_baseline_is_the_metric_of_both_runs_however_many_are_run_at_once(n_prompts, seed):
    model, pairs = order_one_model(), ids_task(n_prompts, seed).on(order_one_model())
    found = pairs.baseline(model)
    with torch.no_grad():
        clean, corrupted = (
            model(tokens)[:, -1, 3] - model(tokens)[:, -1, 4] for tokens in (pairs.clean, pairs.corrupted)
        )
    assert_close(found.clean, clean)
    assert_close(found.corrupted, corrupted)
    assert_close(float(found.accuracy.mean), sum(value > 0 for value in clean.tolist()) / n_prompts)
    assert_close(float(found.corrupted_accuracy.mean), sum(value > 0 for value in corrupted.tolist()) / n_prompts)
    if n_prompts > 1:
        assert torch.equal(found.accuracy.low, over_prompts((clean > 0).double()).low)
    assert f"logit difference, {n_prompts} prompts" in repr(found)


def test_prompts_of_a_template_are_resampled_together():
    rows = ids_task(6).pairs
    pairs = Task("ids", "", tuple(replace(pair, template=f"t{at % 3}") for at, pair in enumerate(rows)))
    found = pairs.on(order_one_model()).baseline(order_one_model())
    expected = over_prompts(found.clean, clusters=["t0", "t1", "t2"] * 2)
    assert torch.equal(found.clean_mean.low, expected.low)
    assert not torch.equal(found.clean_mean.low, over_prompts(found.clean).low)
    assert "6 prompts (95 % intervals over 3 templates)" in repr(found)


def test_22_a_model_that_cannot_tell_the_runs_apart_is_refused_with_both_values():
    model, pairs = order_one_model(), ids_task().on(order_one_model())
    pairs.baseline(model)
    with torch.no_grad():
        model.unembed.W_U.zero_()
        value = float(model.unembed.b_U[3] - model.unembed.b_U[4])
    with pytest.raises(DegenerateBaselineError, match=f"is {value:.6g} on the clean and {value:.6g} on the corrupted"):
        pairs.baseline(model)


@pytest.mark.parametrize("several", [False, True])
def test_a_sweep_with_the_pairs_and_their_metric_brings_the_clean_run_back(several):
    model, made = order_one_model(), ids_task()
    if several:
        made = Task("ids", "", tuple(Pair(pair.clean, pair.corrupted, (3, 5, 8), (4, 1)) for pair in made.pairs))
    pairs = made.on(model)
    effects = sweep(model, pairs.clean, pairs.corrupted, "resid_pre", ("layer",), pairs.metric, direction="denoising")
    assert_close(effects.values[:, 1], pairs.baseline(model).clean)


def test_pairs_are_shown_as_tokens_with_what_changes_and_what_follows(shared):
    pairs = task(
        Pair("One\ntwo", "Two\ntwo", " a", " b", "first"), Pair("One two,", "Two two,", (" a", " c"), " b", "second")
    ).on(gpt2_model(shared))
    assert repr(pairs).splitlines() == [
        "mine: 2 prompt pairs of 4 tokens from 2 templates",
        r"    0  [<|endoftext|>] [One] [\n] [two]",
        "       corrupted at 1: [One] → [Two]",
        "       answer [ a], not [ b]",
        "    1  [<|endoftext|>] [One] [ two] [,]",
        "       corrupted at 1: [One] → [Two]",
        "       answer [ a] [ c], not [ b]",
    ]
    frame = pairs.to_frame()
    assert list(frame.columns) == ["template", "clean", "corrupted", "answer", "wrong"]
    assert frame.corrupted[0] == r"[<|endoftext|>] [Two] [\n] [two]"
    assert list(frame.template) == ["first", "second"]


def test_of_many_pairs_the_first_are_shown_and_a_frame_has_all():
    pairs = ids_task(7).on(order_one_model())
    assert "  … and 3 more" in repr(pairs).splitlines()
    assert len(pairs.to_frame()) == len(pairs) == 7


def test_gpt2_end_of_text_is_no_unknown_word(shared):
    model = gpt2_model(shared)
    assert model.tokenizer.unk_token_id == model.tokenizer.bos_token_id == GPT2_VOCABULARY - 1
    task(Pair("A<|endoftext|>to", "B<|endoftext|>to", " Mary", " John")).on(model)


def test_templates_of_the_most_common_length_are_taken():
    templates = ("the {} sat", "a {} sat on the mat", "a {} ran")
    assert of_one_length(word_model(), templates, lambda template: template.format("cat")) == (
        templates[0],
        templates[2],
    )
