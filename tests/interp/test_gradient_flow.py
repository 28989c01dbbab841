import pytest
import torch

from interp.gradient_flow import gradient_lengths

from ..conftest import order_one_model, random_tokens


@pytest.mark.parametrize("changes", [{}, {"norm_placement": "post"}, {"parallel_attn_mlp": True}, {"attn_only": True}])
def test_the_gradients_are_those_of_the_streams_in_a_whole_backward_pass(changes):
    model, tokens = order_one_model(**changes), random_tokens()
    counted = torch.tensor([True, False, True, True, False, True])
    lengths = gradient_lengths(model, tokens, counted)
    assert lengths.shape == (3, 3)
    for row in range(3):
        seen = {}

        def keep(activation, hook, seen=seen):
            activation.retain_grad()
            seen[hook.name] = activation

        names = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
        logits = model.run_with_hooks(tokens[row : row + 1], fwd_hooks=[(name, keep) for name in names])
        losses = torch.nn.functional.cross_entropy(logits[0, :-1], tokens[row, 1:], reduction="none")
        losses[counted].mean().backward()
        torch.testing.assert_close(lengths[:, row], torch.stack([seen[name].grad.norm() for name in names]))


def test_no_gradient_of_a_weight_is_left_behind():
    model = order_one_model()
    with torch.no_grad():
        gradient_lengths(model, random_tokens(), torch.ones(6, dtype=torch.bool))
    assert all(parameter.grad is None for parameter in model.parameters())
