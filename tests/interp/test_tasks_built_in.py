"""The built-in tasks, each against a reading of its prompts that knows nothing of how they were made."""

import ast
import csv
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from interp.errors import TokensError, UnknownTaskError
from interp.metrics import LogitDifference
from interp.tasks import TASKS, Pair, PromptPairs, Task, built_in, induction, ioi
from interp.tasks.built_in.capitals import CAPITALS
from interp.tasks.built_in.pronouns import NAMES
from models import HookedTransformer

from ..conftest import order_one_model
from .task_models import gpt2_model, word_model

N_PROMPTS = 48


@pytest.fixture(scope="module")
def gpt2(shared: Path) -> HookedTransformer:
    return gpt2_model(shared)


@pytest.fixture(scope="module")
def drawn(gpt2: HookedTransformer) -> dict[str, Task]:
    return {name: built_in(name, N_PROMPTS).drawn_for(gpt2) for name in TASKS}


@pytest.fixture(scope="module")
def read(gpt2: HookedTransformer, drawn: dict[str, Task]) -> dict[str, PromptPairs]:
    return {name: task.on(gpt2) for name, task in drawn.items()}


@pytest.mark.parametrize("name", TASKS)
def test_the_pairs_are_different_and_depend_on_the_seed_alone(name, gpt2, drawn):
    pairs = drawn[name].pairs
    assert len(set(pairs)) == len(pairs) == N_PROMPTS
    assert built_in(name, N_PROMPTS).drawn_for(gpt2) == drawn[name]
    assert built_in(name, 5).drawn_for(gpt2).pairs == pairs[:5]
    others = built_in(name, N_PROMPTS, seed=1).drawn_for(gpt2).pairs
    assert len(set(pairs) & set(others)) < N_PROMPTS / 4


@pytest.mark.parametrize("name", TASKS)
def test_clean_and_corrupted_differ_in_one_token_at_one_place(name, gpt2, drawn, read):
    pairs = read[name]
    differs = pairs.clean != pairs.corrupted
    assert (differs.sum(dim=1) == 1).all()
    assert (pairs.clean[:, 0] == gpt2.tokenizer.bos_token_id).all()
    for pair, ids in zip(drawn[name].pairs, pairs.clean, strict=True):
        if isinstance(pair.clean, str):
            assert gpt2.to_string(ids[1:]) == pair.clean
    assert pairs.notes == ()
    # Whole templates are resampled, which needs some; the others have none, and their prompts are independent.
    assert len(set(pairs.clusters)) >= 6 or (name in ("induction", "docstring", "brackets", "key-value"))
    # Templates are made so that they have it at one place; only there it is another in each prompt by intention.
    places = differs.int().argmax(dim=1).unique()
    assert len(places) == 1 or name in ("brackets", "capitals")


@pytest.mark.parametrize("name", TASKS)
def test_swapping_right_and_wrong_turns_the_metric_round(name, gpt2, drawn, read):
    swapped = [Pair(pair.clean, pair.corrupted, pair.wrong, pair.answer, pair.template) for pair in drawn[name].pairs]
    mirrored = Task(name, "", tuple(swapped)).on(gpt2)
    logits = torch.randn(N_PROMPTS, 1, gpt2.cfg.d_vocab, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(read[name].metric(logits), -mirrored.metric(logits))
    assert isinstance(read[name].metric, LogitDifference) == (name != "greater-than")


def test_induction_goes_on_as_it_did_before(gpt2, drawn):
    for pair in drawn["induction"].pairs:
        for prompt, follows in ((pair.clean, pair.answer), (pair.corrupted, pair.wrong)):
            *before, last = prompt
            assert [then for token, then in pairwise(before) if token == last] == [follows]
    without = order_one_model(d_vocab=12)
    pairs = induction(8).on(without)
    assert pairs.clean.shape == (8, 9)
    assert 0 <= int(pairs.clean.min()) <= int(pairs.clean.max()) < 12
    with pytest.raises(TokensError, match="context of 5 tokens is too short"):
        induction().on(order_one_model(n_ctx=5))


def names_in(text: str) -> list[str]:
    """The capitalised words behind the first."""
    return re.findall(r"(?<= )[A-Z]\w+", text)


def test_ioi_asks_for_the_name_that_comes_once(drawn):
    orders = []
    for pair in drawn["ioi"].pairs:
        first, second, giver = names_in(pair.clean)
        assert first != second
        assert giver in (first, second)
        receiver = second if giver == first else first
        assert (pair.answer, pair.wrong) == (f" {receiver}", f" {giver}")
        # Corrupted, the two have traded places.
        assert names_in(pair.corrupted) == [first, second, receiver]
        orders.append("BABA" if giver == first else "ABBA")
        assert pair.template.startswith(orders[-1])
    assert orders.count("ABBA") == orders.count("BABA") == N_PROMPTS / 2
    assert len({pair.template for pair in drawn["ioi"].pairs}) == 12


def test_ioi_with_a_third_name_leaves_neither_right(gpt2):
    task = ioi(N_PROMPTS, corruption="third")
    for pair in task.drawn_for(gpt2).pairs:
        first, second, giver = names_in(pair.clean)
        *others, third = names_in(pair.corrupted)
        assert others == [first, second]
        assert third not in others
        assert pair.wrong == f" {giver}"
    assert (task.on(gpt2).clean != task.on(gpt2).corrupted).sum() == N_PROMPTS


def test_ioi_knows_two_corruptions(as_users_run_it):
    with pytest.raises(ValueError, match="corruption='abc' must be one of"):
        ioi(corruption="abc")
    ioi(corruption="third")


def test_greater_than_sets_every_later_year_against_all_others(gpt2, drawn, read):
    pairs = read["greater-than"]
    for pair, row in zip(drawn["greater-than"].pairs, pairs.tokens_clean, strict=True):
        century, year, again = re.fullmatch(r"\D+(\d\d)(\d\d)\D+(\d\d)", pair.clean).groups()
        assert century == again
        assert re.sub(r"\d{4}", f"{century}01", pair.clean) == pair.corrupted
        assert {int(answer) for answer in pair.answer} == {other for other in range(100) if other > int(year)}
        assert sorted([*pair.answer, *pair.wrong]) == [f"{other:02d}" for other in range(100)]
        assert year in row
        assert row[-1] == f" {century}"
    # Where all tokens are equally likely, the metric counts.
    even = torch.zeros(N_PROMPTS, 1, gpt2.cfg.d_vocab, dtype=torch.float64)
    counts = [(len(pair.answer) - len(pair.wrong)) / gpt2.cfg.d_vocab for pair in drawn["greater-than"].pairs]
    torch.testing.assert_close(pairs.metric(even), torch.tensor(counts, dtype=torch.float64))


def test_agreement_is_with_the_subject_and_not_with_the_other_noun(drawn):
    def is_plural(noun: str) -> bool:
        return noun.endswith("s") or noun in ("men", "women", "children")

    singular = {" is": " are", " was": " were", " has": " have"}
    plural = {were: was for was, were in singular.items()}
    others = set()
    for pair in drawn["agreement"].pairs:
        (_, subject, *_, other), (_, changed, *rest) = pair.clean.split(), pair.corrupted.split()
        assert pair.clean.split()[2:] == rest
        assert is_plural(subject) != is_plural(changed)
        assert subject[0] == changed[0]
        assert (plural if is_plural(subject) else singular)[pair.answer] == pair.wrong
        others.add((is_plural(subject), is_plural(other)))
    assert len(others) == 4


def test_docstrings_are_python_and_describe_the_arguments_in_order(drawn):
    for pair in drawn["docstring"].pairs:
        for prompt, answer in ((pair.clean, pair.answer), (pair.corrupted, pair.wrong)):
            (function,) = ast.parse(f'{prompt}{answer}: rest\n    """').body
            arguments = [argument.arg for argument in function.args.args]
            described = re.findall(r":param (\w+):", ast.get_docstring(function))
            assert len(set(arguments)) == len(arguments) == 6
            assert described == arguments[2:5]
            assert pair.clean.partition("):")[2] == pair.corrupted.partition("):")[2]


def opened(text: str) -> list[str]:
    """What is still open at the end, the last one last; what closes nothing is an error."""
    stack = []
    for character in text:
        if character in "([{":
            stack.append(character)
        elif character in ")]}":
            assert stack.pop() + character in ("()", "[]", "{}")
    return stack


def test_brackets_close_what_was_opened_last(drawn):
    places = set()
    for pair in drawn["brackets"].pairs:
        for prompt, answer, other in (
            (pair.clean, pair.answer, pair.wrong),
            (pair.corrupted, pair.wrong, pair.answer),
        ):
            assert len(opened(prompt)) == 2
            assert opened(prompt + answer) == opened(prompt)[:1]
            with pytest.raises(AssertionError):
                opened(prompt + other)
        places.add(next(at for at, (one, two) in enumerate(zip(pair.clean, pair.corrupted, strict=True)) if one != two))
    assert len(places) > 2


def test_key_values_are_looked_up(drawn):
    asked = set()
    for pair in drawn["key-value"].pairs:
        listed, query = pair.clean.split(". So ")
        meaning = dict(re.findall(r"(\w+) means (\w+)", listed))
        assert len(meaning.keys() | set(meaning.values())) == 8
        assert f" {meaning[query.split()[0]]}" == pair.answer
        assert pair.corrupted.startswith(listed)
        assert f" {meaning[pair.corrupted.split('. So ')[1].split()[0]]}" == pair.wrong
        asked.add(list(meaning).index(query.split()[0]))
    assert asked == {0, 1, 2, 3}


def test_pronouns_are_those_of_the_names(drawn):
    assert not set(NAMES["he"]) & set(NAMES["she"])
    for pair in drawn["pronouns"].pairs:
        for prompt, pronoun in ((pair.clean, pair.answer), (pair.corrupted, pair.wrong)):
            (name,) = set(prompt.split()) & {*NAMES["he"], *NAMES["she"]}
            assert name in NAMES[pronoun.strip()]
        assert {pair.answer, pair.wrong} == {" he", " she"}


def test_capitals_are_those_of_a_published_list(shared, drawn):
    with (shared / "data" / "interp-tasks" / "world_capitals.csv").open(newline="") as file:
        published = {row["country"]: row["capital"] for row in csv.DictReader(file)}
    assert {country: published[country] for country in CAPITALS} == CAPITALS
    for pair in drawn["capitals"].pairs:
        for prompt, capital in ((pair.clean, pair.answer), (pair.corrupted, pair.wrong)):
            (country,) = set(re.findall(r"\w+", prompt)) & set(CAPITALS)
            assert capital == f" {CAPITALS[country]}"


def test_words_that_are_one_token_are_chosen_and_too_few_are_an_error():
    python = HookedTransformer.from_pretrained_no_processing("stdlib-2l")
    for name in ("induction", "docstring", "brackets", "key-value"):
        assert len(built_in(name).on(python)) == 32
    for name, message in {
        "ioi": r"ioi needs 4 names that are single tokens of the model; of 60 none is\. 'Mary' is \[ M\] \[ary\]",
        "greater-than": r"a token for each two digits, .* here ' 1732' is \[ 1\] \[7\] \[3\] \[2\]",
        "agreement": r"4 pairs of nouns \(singular, plural\), has 0, .* only 6 are: key, .* 'keys' is \[ key\] \[s\]",
        "pronouns": 'needs 2 names of a "he" that are single tokens',
        "capitals": "needs 4 pairs of countries and capitals, has 0",
    }.items():
        with pytest.raises(TokensError, match=message):
            built_in(name).on(python)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "induction"])
def test_a_task_in_words_refuses_a_model_without_tokenizer_and_one_that_lacks_the_words(name):
    with pytest.raises(TokensError, match=f"{name} is in words, and the model has no tokenizer"):
        built_in(name).on(order_one_model())
    with pytest.raises(TokensError, match=f"{name} needs"):
        built_in(name).on(word_model())


def test_a_tokenizer_that_has_no_token_for_unknown_words_is_refused_by_name():
    adds = HookedTransformer.from_pretrained_no_processing("modular-addition")
    with pytest.raises(TokensError, match=r"words that the tokenizer does not know: .*UNK"):
        built_in("ioi").on(adds)
    assert len(Task("sums", "", (Pair("1 2 =", "1 3 =", "3", "4"),)).on(adds)) == 1


def test_more_pairs_than_there_are_is_an_error_that_says_how_many_there_are():
    tiny = order_one_model(d_vocab=5, n_ctx=7)
    # Four tokens, the first two again, and any other in the place of the third: 5! orders.
    assert len(induction(5 * 4 * 3 * 2).on(tiny)) == 120
    with pytest.raises(TokensError, match="induction has no 121 different pairs for this model: 120 were found"):
        induction(121).on(tiny)
    with pytest.raises(TokensError, match="n_prompts=0 must be at least 1"):
        induction(0)


def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(UnknownTaskError, match=r"no task is called 'greater'\. Did you mean 'greater-than'"):
        built_in("greater")
    with pytest.raises(KeyError, match="There are induction, ioi,"):
        built_in("xyz")
    assert [built_in(name).name for name in TASKS] == list(TASKS)
    assert all(built_in(name).source and built_in(name).description for name in TASKS)


def test_a_bundled_model_does_induction_and_not_behind_the_corrupted_prompts():
    model = HookedTransformer.from_pretrained_no_processing("stdlib-2l")
    found = induction().on(model).baseline(model)
    assert float(found.accuracy.low) > 0.9
    assert float(found.corrupted_accuracy.high) < 0.1


def test_the_page_of_the_tasks_has_each_as_it_says_itself():
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
    for name in TASKS:
        row = f"| `{name}` | {built_in(name).description} | {built_in(name).source} |"
        assert row in page, f"docs/tasks.md must have this row:\n{row}"
