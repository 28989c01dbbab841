"""TransformerLens' head detector: the same target keys, and the same attention on them."""

import pytest
import torch
from torch.testing import assert_close
from transformer_lens import head_detector

from interp.head_scores import DETECTORS, attention_patterns
from tests.conftest import order_one_model, random_tokens
from tests.models.word_tokenizer import word_tokenizer

THEIRS = {
    "previous token": "previous_token_head",
    "duplicate token": "duplicate_token_head",
    "induction": "induction_head",
}


@pytest.mark.parametrize("kind", list(THEIRS))
def test_the_targets_are_their_detection_pattern(kind: str) -> None:
    theirs = getattr(head_detector, f"get_{THEIRS[kind]}_detection_pattern")
    for seed in range(5):
        # Four different tokens in twelve places: many copies, some side by side.
        tokens = random_tokens(1, 12, seed=seed, d_vocab=4)
        assert torch.equal(DETECTORS[kind](tokens)[0].float(), theirs(tokens)), seed


@pytest.mark.parametrize("kind", list(THEIRS))
def test_the_attention_on_the_targets_is_their_score(kind: str) -> None:
    model = order_one_model()
    model.set_tokenizer(word_tokenizer())
    text = "the cat sat the cat sat the"
    tokens = model.to_tokens(text)
    theirs = head_detector.detect_head(model, text, THEIRS[kind], error_measure="mul")
    # Theirs is a share of all attention, whose rows sum to one: of as many queries as there are tokens.
    patterns = torch.stack(attention_patterns(model, tokens), dim=1)[0]
    ours = (patterns * DETECTORS[kind](tokens)[0]).sum(dim=(-2, -1)) / tokens.shape[1]
    assert_close(theirs.double(), ours.double())
    assert float(theirs.min()) > 1e-3
