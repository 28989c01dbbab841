"""What is generated is what forward passes and the stated distribution say, cached or not, padded or alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from models.errors import InputError, TokenizerError
from models.generate import Sampling, sampling_probabilities
from tests.conftest import order_one_model, random_tokens
from tests.models.word_tokenizer import WORDS, word_tokenizer

VARIANTS = {
    "learned positions": {},
    "rotary": {"positional_embedding_type": "rotary", "rotary_dim": 4},
    "shortformer": {"positional_embedding_type": "shortformer"},
    "no positions": {"positional_embedding_type": "none"},
    "grouped": {"n_key_value_heads": 2},
    "ungrouped": {"n_key_value_heads": 2, "ungroup_grouped_query_attention": True},
    "local window": {"use_local_attn": True, "window_size": 2, "attn_types": ("local", "global")},
    "post-norm": {"norm_placement": "post"},
    "soft caps": {"attn_scores_soft_cap": 2.0, "output_logits_soft_cap": 5.0},
    "split inputs": {"use_split_qkv_input": True},
}


def varied_model(**changes):
    """A model whose choice depends on what it reads: without biases, which would favour one token always."""
    model = order_one_model(n_ctx=16, **changes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2].startswith("b"):
                parameter.zero_()
        model.embed.W_E *= 3
    return model


def with_words(padding_side="right", one_special=False, **changes):
    model = varied_model(**changes)
    model.set_tokenizer(word_tokenizer(padding_side, one_special))
    return model


def step_by_step(model, tokens, steps):
    """The most likely continuation, by the definition."""
    for _ in range(steps):
        tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1)
    return tokens


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_greedy_generation_is_the_argmax_of_forward_cached_or_not(changes):
    model, tokens = varied_model(**changes), random_tokens(length=5)
    expected = step_by_step(model, tokens, 11)
    assert len(expected[:, 5:].unique()) > 2
    options = {"max_new_tokens": 11, "stop_at_eos": False, "do_sample": False}
    assert torch.equal(model.generate(tokens, **options), expected)
    assert torch.equal(model.generate(tokens, use_past_kv_cache=False, **options), expected)
    assert torch.equal(model.generate(tokens[0], **options), expected[:1])
    assert torch.equal(model.generate(tokens, temperature=0.0, max_new_tokens=11, stop_at_eos=False), expected)


@pytest.mark.parametrize("one_special", [False, True])
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_texts_of_a_batch_are_continued_as_if_alone(changes, one_special):
    model = with_words(one_special=one_special, **changes)
    texts = ["the cat sat on the mat", "a dog", ""]
    options = {"max_new_tokens": 5, "do_sample": False, "stop_at_eos": False, "return_type": "tokens"}
    together = model.generate(texts, **options)
    assert torch.equal(model.generate(texts, use_past_kv_cache=False, **options), together)
    for text, row in zip(texts, together, strict=True):
        alone = model.generate(text, **options)[0]
        assert torch.equal(row[-len(alone) :], alone)


def test_left_padded_tokens_are_continued_as_their_texts():
    model = with_words(padding_side="left")
    texts = ["the cat sat on the mat", "a dog"]
    options = {"max_new_tokens": 5, "do_sample": False, "return_type": "tokens"}
    assert torch.equal(model.generate(model.to_tokens(texts), **options), model.generate(texts, **options))


def test_padding_on_the_right_is_refused():
    model = with_words()
    texts = ["the cat sat on the mat", "a dog"]
    padded = model.to_tokens(texts)
    for input, side in ((padded, None), (texts, "right")):
        with pytest.raises(InputError, match="pad on the left, not on the right"):
            model.generate(input, padding_side=side)
    model.generate(padded[:1], 2)
    # Every row ends with the token that pads: nothing was padded, these are prompts of one special token.
    model.generate(torch.full((2, 1), model.tokenizer.pad_token_id), 2)
    model.generate(texts[:1], 2, padding_side="right")


def test_empty_text_begins_at_the_beginning_of_text():
    model = with_words()
    expected = step_by_step(model, torch.tensor([[0]]), 4)
    assert torch.equal(
        model.generate(max_new_tokens=4, do_sample=False, return_type="tokens", eos_token_id=3), expected
    )
    with pytest.raises(TokenizerError, match="has no tokens"):
        model.generate("", prepend_bos=False)


def test_text_comes_back_as_text_and_tokens_as_tokens():
    model = with_words()
    options = {"max_new_tokens": 3, "do_sample": False, "stop_at_eos": False}
    text = model.generate("the cat", **options)
    tokens = step_by_step(model, model.to_tokens("the cat"), 3)
    assert text == " ".join(WORDS[token] for token in tokens[0, 1:] if token > 2)
    assert text.startswith("the cat ")
    assert model.generate(model.to_tokens("the cat"), return_type="str", **options) == text
    assert model.generate(["the cat", "then"], **options) == [text, model.generate("then", **options)]


def test_a_finished_row_is_filled_and_generation_ends_with_the_last():
    model, tokens = varied_model(), random_tokens(batch=2, length=3, seed=4)
    free = step_by_step(model, tokens, 12)
    filler, end = 11, 9
    stops = [next(i for i in range(3, 15) if int(row[i]) in (filler, end)) for row in free]
    # One row ends well before the other, and both go on differently when nothing stops them.
    early, late = sorted(stops)
    assert early < late < 13
    assert (free[stops.index(early), early + 1 : late + 1] != filler).any()
    ended = model.generate(tokens, 12, eos_token_id=[filler, end], do_sample=False)
    assert ended.shape[1] == late + 1
    for row, expected, stop in zip(ended, free, stops, strict=True):
        assert torch.equal(row[: stop + 1], expected[: stop + 1])
        assert (row[stop + 1 :] == filler).all()
    assert torch.equal(model.generate(tokens, 12, stop_at_eos=False, do_sample=False), free)


def test_the_tokenizers_end_token_ends():
    model = with_words()
    model.unembed.b_U.data[1] = 1e3
    assert model.generate("the cat", 5, return_type="tokens").tolist() == [[0, 4, 6, 1]]
    assert model.generate("the cat", 5, return_type="tokens", stop_at_eos=False).tolist() == [[0, 4, 6, *[1] * 5]]
    assert model.generate("the cat", 5) == "the cat"


def test_a_generator_makes_sampling_reproducible():
    model, tokens = varied_model(), random_tokens(length=3)

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return model.generate(tokens, 12, stop_at_eos=False, temperature=3.0, generator=generator)

    state = torch.get_rng_state()
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    first = model.generate(tokens, 12, stop_at_eos=False, temperature=3.0)
    torch.manual_seed(5)
    assert torch.equal(model.generate(tokens, 12, stop_at_eos=False, temperature=3.0), first)


def test_tokens_are_drawn_from_the_models_distribution():
    model = order_one_model()
    n = 20000
    tokens = random_tokens(batch=1, length=4).expand(n, -1)
    drawn = model.generate(
        tokens, 1, stop_at_eos=False, temperature=2.0, top_k=5, generator=torch.Generator().manual_seed(0)
    )[:, -1]
    logits = model(tokens[:1])[0, -1] / 2
    kept = logits.topk(5).indices
    expected = torch.zeros(17, dtype=torch.float64)
    expected[kept] = logits[kept].softmax(-1)
    error = (drawn.bincount(minlength=17) / n - expected).abs()
    # Five standard errors; the seed is fixed, so this either holds or does not.
    assert (error <= 5 * (expected * (1 - expected) / n).sqrt()).all()


LOGITS = torch.tensor([[1.0, 3.0, 2.0, 0.0]], dtype=torch.float64)
NO_TOKENS = torch.zeros(1, 0, dtype=torch.long)


def test_each_option_defines_its_distribution():
    def given(tokens=NO_TOKENS, **options):
        return sampling_probabilities(LOGITS, tokens, Sampling(**options))

    e = torch.e
    whole = LOGITS.softmax(-1)
    assert_close(given(), whole)
    assert_close(given(temperature=0.5), (2 * LOGITS).softmax(-1))
    assert_close(given(top_k=1), torch.tensor([[0.0, 1, 0, 0]]).double())
    assert_close(given(top_k=2), torch.tensor([[0, e / (1 + e), 1 / (1 + e), 0]]).double())
    assert_close(given(top_k=9), whole)
    # Ranked: 0.6439, 0.2369, 0.0871, 0.0321.
    assert_close(given(top_p=0.6), given(top_k=1))
    assert_close(given(top_p=0.65), given(top_k=2))
    assert_close(given(top_p=0.9), given(top_k=3))
    assert_close(given(top_p=1.0), whole)
    tokens = torch.tensor([[1, 1, 2]])
    assert_close(given(tokens, freq_penalty=0.7), (LOGITS - torch.tensor([[0, 1.4, 0.7, 0]])).softmax(-1))
    # The penalty comes after the temperature.
    penalised = 2 * LOGITS - torch.tensor([[0, 1.4, 0.7, 0]])
    assert_close(given(tokens, freq_penalty=0.7, temperature=0.5), penalised.softmax(-1))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=12),
    st.floats(0.05, 1.0),
    st.floats(0.2, 5.0),
)
def test_top_p_keeps_the_fewest_most_likely_tokens_that_reach_it(scores, top_p, temperature):
    logits = torch.tensor([scores], dtype=torch.float64)
    whole = (logits / temperature).softmax(-1)
    kept = sampling_probabilities(logits, NO_TOKENS, Sampling(top_p=top_p, temperature=temperature)) > 0
    mass = whole[kept].sum()
    assert mass >= top_p - 1e-12
    assert mass - whole[kept].min() <= top_p + 1e-12
    assert kept.all() or whole[kept].min() >= whole[~kept].max()


def test_a_frequency_penalty_changes_what_is_generated():
    model, tokens = varied_model(), random_tokens(length=3)
    options = {"max_new_tokens": 12, "stop_at_eos": False}
    repeated = model.generate(tokens, **options, generator=torch.Generator().manual_seed(0))
    varied = model.generate(tokens, **options, generator=torch.Generator().manual_seed(0), freq_penalty=50.0)
    assert all(len(row.unique()) == len(row[:3].unique()) + 12 for row in varied)
    assert not all(len(row.unique()) == len(row[:3].unique()) + 12 for row in repeated)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 7}, r"3 tokens and 7 new ones are more than the model's context of 9; .* at most 6"),
        ({"max_new_tokens": -1}, "max_new_tokens=-1 is negative"),
        ({"stop_at_eos": True}, "stop_at_eos needs an eos_token_id"),
        ({"stop_at_eos": True, "eos_token_id": 17}, "eos_token_id=17 names no token of the vocabulary 0 to 16"),
        ({"stop_at_eos": True, "eos_token_id": []}, r"eos_token_id=\[\] names no token"),
        ({"top_k": 0}, "top_k=0 must be at least 1"),
        ({"top_p": 0.0}, r"top_p=0\.0 must be above 0"),
        ({"top_p": 1.5}, r"top_p=1\.5 must be above 0 and at most 1"),
        ({"top_k": 3, "top_p": 0.5}, r"top_k=3 and top_p=0\.5 exclude one another"),
        ({"temperature": -1.0}, r"temperature=-1\.0 must be 0"),
        ({"temperature": torch.nan}, "temperature=nan must be 0"),
        ({"freq_penalty": -1.0}, r"freq_penalty=-1\.0 must not be negative"),
        ({"freq_penalty": 1.0, "do_sample": False}, r"freq_penalty=1\.0 has no effect without sampling"),
    ],
)
def test_options_without_a_meaning_are_refused(options, message):
    model, tokens = order_one_model(), random_tokens(length=3)
    allowed = {"max_new_tokens": 6, "stop_at_eos": False}
    assert model.generate(tokens, **allowed).shape == (3, 9)
    with pytest.raises(InputError, match=message):
        model.generate(tokens, **(allowed | options))


def test_text_longer_than_the_context_is_not_cut():
    model = with_words()
    model.generate(" ".join(["cat"] * 12), max_new_tokens=3)
    with pytest.raises(InputError, match="31 tokens and 3 new ones are more than the model's context of 16"):
        model.generate(" ".join(["cat"] * 30), max_new_tokens=3)


def test_models_that_cannot_continue_their_own_output_are_refused():
    tokens, options = random_tokens(length=3), {"max_new_tokens": 3, "stop_at_eos": False, "do_sample": False}
    with pytest.raises(InputError, match="reads 17 tokens and writes 5"):
        order_one_model(d_vocab_out=5).generate(tokens, **options)
    bidirectional = order_one_model(attention_dir="bidirectional")
    with pytest.raises(InputError, match="pass use_past_kv_cache=False"):
        bidirectional.generate(tokens, **options)
    expected = step_by_step(bidirectional, tokens, 3)
    assert torch.equal(bidirectional.generate(tokens, use_past_kv_cache=False, **options), expected)
    with pytest.raises(TokenizerError, match="no tokenizer"):
        order_one_model().generate("the cat")


@pytest.mark.parametrize("do_sample", [True, False])
def test_logits_that_are_not_numbers_are_an_error(do_sample):
    model, tokens = order_one_model(), random_tokens(length=3)
    model.unembed.b_U.data[4] = torch.nan
    with pytest.raises(FloatingPointError, match="logits behind position 2 are not numbers"):
        model.generate(tokens, stop_at_eos=False, max_new_tokens=2, do_sample=do_sample)


def test_the_progress_bar_is_on_stderr_and_only_when_asked_for(capsys):
    model, tokens = order_one_model(), random_tokens(length=3)
    model.generate(tokens, stop_at_eos=False, max_new_tokens=2)
    assert capsys.readouterr() == ("", "")
    model.generate(tokens, stop_at_eos=False, max_new_tokens=2, verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err


def test_generated_tokens_can_be_trained_on():
    model = order_one_model()
    tokens = model.generate(random_tokens(length=3), stop_at_eos=False, max_new_tokens=2)
    model(tokens, return_type="loss").backward()
    assert model.embed.W_E.grad.isfinite().all()


@pytest.mark.usefixtures("as_users_run_it")
def test_an_unknown_form_of_the_result_is_refused():
    model = order_one_model()
    with pytest.raises(InputError, match="return_type='text' must be 'input', 'str' or 'tokens'"):
        model.generate(random_tokens(), max_new_tokens=1, stop_at_eos=False, return_type="text")
    model.generate(random_tokens(), max_new_tokens=1, stop_at_eos=False, return_type="tokens")
