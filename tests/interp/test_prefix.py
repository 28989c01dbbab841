import pytest
import torch

from interp.prefix import prefix_differences

from ..conftest import order_one_model, random_tokens


@pytest.mark.parametrize("changes", [{}, {"positional_embedding_type": "rotary"}, {"attn_scores_soft_cap": 3.0}])
def test_what_follows_changes_nothing(changes):
    found = prefix_differences(order_one_model(**changes), random_tokens(), [1, 3, 6])
    assert found.lengths == (1, 3, 6)
    assert float(found.cut.max()) < 1e-12
    assert found.replaced.tolist() == [0, 0, 0]


def test_a_model_that_sees_what_follows_is_told_apart():
    found = prefix_differences(order_one_model(attention_dir="bidirectional"), random_tokens(), [1, 3, 6])
    assert float(found.cut.min()) > 1e-3
    assert float(found.replaced.min()) > 1e-3


def test_each_length_has_its_own_difference():
    model, tokens = order_one_model(n_layers=1), random_tokens()

    class Leaking:
        cfg = model.cfg

        def __call__(self, given):
            # The last position before the end hears of what comes at position 5.
            logits = model(given)
            if given.shape[1] > 5:
                logits[:, 4] += given[:, 5, None]
            return logits

    found = prefix_differences(Leaking(), tokens, [4, 5, 6])
    assert [bool(difference > 1e-3) for difference in found.replaced] == [False, True, False]
    assert [bool(difference > 1e-3) for difference in found.cut] == [False, True, False]
    whole = model(tokens)
    whole[:, 4] += tokens[:, 5, None]
    torch.testing.assert_close(found.cut[1], tokens[:, 5].max() / whole.abs().max())
