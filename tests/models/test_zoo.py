"""The bundled models: what their cards say can be found again from the files beside them."""

import hashlib
import json
import math

import pytest
import torch
from tokenizers import Tokenizer

from models import HookedTransformer, HookedTransformerConfig
from models.addition import AdditionData, answer_losses, answered_right
from models.addition_card import addition_card_text
from models.batches import HeldOutWindows
from models.card_text import card_text
from models.corpus import Document, standard_library
from models.evaluation import held_out_loss
from models.head_scores import copy_losses, prefix_matching_scores, repeated_random_tokens
from models.loading.resolve import ZOO, bundled_names
from models.recipes import RECIPES, Recipe

NAMES = bundled_names()
ON_TEXT = [name for name in NAMES if RECIPES[name].task == "text"]


@pytest.fixture(scope="module", params=ON_TEXT)
def bundled(request):
    folder = ZOO / request.param
    model = HookedTransformer.from_pretrained_no_processing(request.param, device="cpu")
    return model, folder, json.loads((folder / "card.json").read_text(encoding="utf-8"))


def sample(folder):
    return (folder / "sample.txt").read_bytes().decode("utf-8")


def sample_loss(model, folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    windows = HeldOutWindows.cut(tokenizer, [Document("sample.txt", sample(folder))], model.cfg.n_ctx)
    return held_out_loss(model, windows).nats_per_token.mean


def test_every_recipe_has_its_model_and_each_is_small():
    assert sorted(RECIPES) == NAMES
    for name in NAMES:
        assert sum(path.stat().st_size for path in (ZOO / name).iterdir()) < 16e6


def test_the_loss_on_the_sample_is_what_the_card_says(bundled):
    model, folder, card = bundled
    assert hashlib.sha256((folder / "sample.txt").read_bytes()).hexdigest() == card["sample"]["sha256"]
    # float32 sums in another order on another processor
    assert sample_loss(model, folder) == pytest.approx(card["sample"]["nats_per_token"], rel=1e-5)


def test_processed_weights_have_the_same_loss(bundled):
    _model, folder, card = bundled
    processed = HookedTransformer.from_pretrained(card["name"], device="cpu")
    # Where there is no final norm, an unembedding shared with the embedding, no norm is folded.
    assert processed.cfg.normalization_type == ("LN" if processed.cfg.tie_word_embeddings else "LNPre")
    assert sample_loss(processed, folder) == pytest.approx(card["sample"]["nats_per_token"], rel=1e-4)


def test_it_knows_more_than_the_token_frequencies(bundled):
    _, _, card = bundled
    baselines, held_out = card["baselines"], card["held_out"]["nats_per_token"]
    assert baselines["ln_d_vocab"] == pytest.approx(math.log(card["recipe"]["architecture"]["d_vocab"]))
    assert baselines["unigram_entropy"] < baselines["ln_d_vocab"]
    assert held_out["mean"] + 10 * held_out["standard_error"] < baselines["unigram_entropy"] - 1
    assert card["sample"]["nats_per_token"] < baselines["unigram_entropy"] - 1


def test_the_tokenizer_is_lossless_and_the_model_begins_with_its_special_token(bundled):
    model, folder, _ = bundled
    text = sample(folder)
    for piece in (text[:600], "\t naïve “quotes” 🐍\r\n  x", "</script>"):
        tokens = model.to_tokens(piece, truncate=False)
        assert tokens[0, 0] == model.tokenizer.bos_token_id
        assert model.to_string(tokens[0, 1:]) == piece
    assert "".join(model.to_str_tokens(text[:80], prepend_bos=False)) == text[:80]


def recipe_of(card: dict) -> Recipe:
    """The recipe a card tells; an option that came after the training has its default."""
    told = card["recipe"]
    dtype = getattr(torch, told["architecture"]["dtype"])
    architecture = HookedTransformerConfig.from_dict({**told["architecture"], "dtype": dtype})
    return Recipe(**{**told, "architecture": architecture, "betas": tuple(told["betas"])})


def test_the_model_is_the_one_of_its_recipe_and_the_card_is_made_of_its_numbers(bundled):
    model, folder, card = bundled
    assert recipe_of(card) == RECIPES[card["name"]]
    assert card["curve"][-1]["step"] == card["recipe"]["steps"]
    assert card["n_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert (folder / "card.md").read_text(encoding="utf-8") == card_text(card)


def test_the_head_scores_and_copy_losses_of_the_card_can_be_measured_again(bundled):
    model, _, card = bundled
    tokens = repeated_random_tokens(model, 32)
    again = prefix_matching_scores(model, tokens)
    torch.testing.assert_close(again, torch.tensor(card["heads"]["prefix_matching"]), rtol=1e-3, atol=1e-4)
    first, second = copy_losses(model, tokens)
    assert float(first.mean()) == pytest.approx(card["heads"]["copy_loss"]["first"]["mean"], rel=1e-4)
    assert float(second.mean()) == pytest.approx(card["heads"]["copy_loss"]["second"]["mean"], rel=1e-4)


def test_the_sample_is_held_out_text_of_the_files_it_names(bundled):
    _, folder, card = bundled
    corpus = standard_library()
    if corpus.sha256 != card["corpus"]["sha256"]:
        pytest.skip(f"the model was trained on the {card['corpus']['source']}; this is {corpus.source}")
    texts = {document.name: document.text for document in corpus.held_out}
    assert sorted(texts) == sorted(card["corpus"]["held_out"]["documents"])
    rest = sample(folder)
    for source in card["sample"]["sources"]:
        length = next(k for k in range(len(rest), 0, -1) if texts[source].startswith(rest[:k]))
        rest = rest[length:]
    assert rest == ""


def test_the_two_layer_model_has_induction_heads_over_previous_token_heads():
    card = json.loads((ZOO / "stdlib-2l" / "card.json").read_text(encoding="utf-8"))
    first, second = (card["heads"]["copy_loss"][copy]["mean"] for copy in ("first", "second"))
    assert max(card["heads"]["prefix_matching"][1]) >= 0.4
    assert max(card["heads"]["previous_token"][0]) >= 0.4
    assert first - second >= 2


@pytest.fixture(scope="module")
def adder():
    model = HookedTransformer.from_pretrained_no_processing("modular-addition", device="cpu")
    card = json.loads((ZOO / "modular-addition" / "card.json").read_text(encoding="utf-8"))
    return model, AdditionData.prepared(RECIPES["modular-addition"]), card


def test_the_adder_is_right_on_sums_it_never_saw_as_its_card_says(adder):
    model, data, card = adder
    assert data.sha256 == card["corpus"]["sha256"]
    assert card["held_out"]["accuracy"] >= 0.99
    # One sum more or less may tip over on another processor.
    assert answered_right(model, data.held_out) == pytest.approx(
        card["held_out"]["accuracy"], abs=1.5 / len(data.held_out)
    )
    loss = float(answer_losses(model, data.held_out).mean())
    assert loss == pytest.approx(card["held_out"]["nats_per_token"]["mean"], rel=1e-3)


def test_the_adders_prompts_are_held_out_and_its_card_is_made_of_its_numbers(adder):
    model, data, card = adder
    prompts = json.loads((ZOO / "modular-addition" / "sample_tokens.json").read_text(encoding="utf-8"))
    held_out = {tuple(row) for row in data.held_out.tolist()}
    assert len(prompts) == 128
    assert {tuple(row) for row in prompts} <= held_out
    assert recipe_of(card) == RECIPES["modular-addition"]
    assert card["n_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    text = (ZOO / "modular-addition" / "card.md").read_text(encoding="utf-8")
    assert text == addition_card_text(card)
    assert model.to_tokens("12 47 = 59", prepend_bos=False).tolist() == [[12, 47, 113, 59]]
