"""What an independent measurement found in SmolLM2-135M-Instruct, found again."""

from dataclasses import replace

import torch
from torch import Tensor

from interp.head_scores import attention_scores
from interp.repeated_tokens import repeated_random_tokens
from interp.tasks import built_in
from models import HookedTransformer


@torch.no_grad()
def test_the_loss_on_wikipedia_is_what_was_measured(ours: HookedTransformer, windows: Tensor) -> None:
    loss = sum(float(ours(row[None], return_type="loss")) for row in windows) / len(windows)
    print(f"next-token loss on 2,048 tokens: {loss:.4f} nats")
    assert abs(loss - 2.9) < 0.05


def test_it_has_previous_token_and_induction_heads(ours: HookedTransformer) -> None:
    rows = repeated_random_tokens(ours, 8, torch.Generator().manual_seed(0), length=50, copies=2)
    scores = attention_scores(ours, rows.tokens, ("previous token", "induction"))
    assert scores.row_error < 1e-5
    for kind, found in scores.by_kind.items():
        mean = found.values.mean(dim=0)
        layer, head = divmod(int(mean.argmax()), ours.cfg.n_heads)
        print(f"{kind}: {layer}.{head} with {float(mean.max()):.3f}")
        assert float(mean.max()) > 0.7
        # Most heads are something else: a wrong mask or a wrong order of heads would blur this.
        assert float(mean.median()) < 0.1


def test_it_answers_ioi_right_on_almost_every_prompt(ours: HookedTransformer) -> None:
    baseline = built_in("ioi", n_prompts=48).on(ours).baseline(ours)
    print(baseline)
    assert float(baseline.accuracy.mean) > 0.9
    # With the names traded the other one is right: it reads the prompt, and has no favourite name.
    assert float(baseline.corrupted_accuracy.mean) < 0.1


def test_its_tasks_are_done_better_without_a_chat_mark_before_them(ours: HookedTransformer) -> None:
    plain = ours.cfg
    assert not plain.default_prepend_bos
    right: dict[bool, float] = {}
    try:
        for prepend in (False, True):
            ours.cfg = replace(plain, default_prepend_bos=prepend)
            pairs = built_in("agreement", 32).on(ours, most_common_length=True)
            right[prepend] = float(pairs.baseline(ours).accuracy.mean)
    finally:
        ours.cfg = plain
    print(f"agreement right: {right[False]:.0%}, behind {ours.tokenizer.bos_token} {right[True]:.0%}")
    assert right[False] > right[True] + 0.05
