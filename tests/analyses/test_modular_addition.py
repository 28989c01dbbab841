"""The panel of modular addition: on the bundled model it finds an adder, on others it is not asked."""

import pytest
import torch

from analyses import modular_addition
from analyses.errors import NotApplicableError
from analyses.rendering import require_valid
from models import HookedTransformer
from models.loading.resolve import bundled_names

from ..conftest import small_config

TOKENS = torch.zeros(1, 4, dtype=torch.long)


@pytest.fixture(scope="module")
def result():
    if "modular-addition" not in bundled_names():
        pytest.skip("the bundled model is not there")
    model = HookedTransformer.from_pretrained_no_processing("modular-addition", device="cpu")
    with torch.no_grad():
        return modular_addition.run(model, TOKENS)


def test_the_bundled_model_adds_with_its_key_frequencies_and_cannot_without(result):
    require_valid(result)
    ablations = result.tables["Embeddings with some frequencies only"].set_index("embeddings_keep").right_answers
    assert ablations["all"] > 0.99
    assert ablations["key frequencies only"] > 0.9
    assert ablations["all but the key frequencies"] < 0.2
    assert ablations["all but as many others"] > 0.9
    assert ablations["as many others only"] < 0.2


def test_the_shares_are_shares_and_the_verdict_names_the_key_frequencies(result):
    table = result.tables["By frequency"]
    assert table.share_of_embeddings.sum() == pytest.approx(1.0)
    assert table.share_of_logits.sum() == pytest.approx(result.numbers["logits_that_depend_on_the_sum_alone"])
    named = result.numbers["key_frequencies"].split(", ")
    assert sorted(map(int, named)) == sorted(table[table.is_key].frequency)
    assert named[0] in result.finding
    assert table.neurons_of_this_frequency.sum() == (result.tables["Neurons"].share >= 0.85).sum()


def test_an_algorithm_is_claimed_only_where_the_ablations_carry_it(result):
    assert result.finding.startswith("It adds by turning numbers around circles")
    model = HookedTransformer.from_pretrained_no_processing("modular-addition", device="cpu")
    with torch.no_grad():
        two = modular_addition.run(model, TOKENS, modular_addition.Options(key_share=0.3))
        all_of_them = modular_addition.run(model, TOKENS, modular_addition.Options(key_share=1e-12))
    assert "do not explain how it adds, because they are not enough" in two.finding
    assert "no few circles explain how it adds" in all_of_them.finding
    assert "not as many other frequencies for a control" in all_of_them.verdict


def test_a_model_that_does_not_add_is_not_asked():
    model = HookedTransformer(small_config(d_vocab=14))
    with pytest.raises(NotApplicableError, match="does not add: it answers"):
        modular_addition.run(model, TOKENS)
    with pytest.raises(NotApplicableError, match="not one of modular addition"):
        modular_addition.run(HookedTransformer(small_config(d_vocab=1024)), TOKENS)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match="key_share=0"):
        modular_addition.Options(key_share=0.0)
    modular_addition.Options(key_share=0.5)
