"""Prompt pairs as tokens of a model, each checked before anything is run. Pairs are counted from 0."""

from collections import Counter
from collections.abc import Sequence
from operator import index
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import TokensError
from ..pairing import paired
from .pair import Pair, Prompt, each
from .prompt_pairs import PromptPairs
from .texts import shown, token_texts
from .vocabulary import continuations, require_tokenizer, tokens_of, unknown_token

Row = tuple[int, ...]


def tokenised(model: Any, name: str, pairs: Sequence[Pair], most_common_length: bool = False) -> PromptPairs:
    """The pairs as tokens of the model.

    Raises:
        TokensError, DegenerateBaselineError: as `Task.on`.
    """
    if not pairs:
        raise TokensError(f"{name} has no prompts")
    clean = [_row(model, f"clean prompt {at} of {name}", pair.clean) for at, pair in enumerate(pairs)]
    corrupted = [_row(model, f"corrupted prompt {at} of {name}", pair.corrupted) for at, pair in enumerate(pairs)]
    _require_partners(model, name, clean, corrupted)
    kept = _of_equal_length(model, name, clean, most_common_length)
    answers = [_answers(model, f"pair {at} of {name}", pairs[at]) for at in kept]
    rows = [_tensor(model, [side[at] for at in kept]) for side in (clean, corrupted)]
    paired(model, rows[0], rows[1], broadcast=False)
    dropped = len(pairs) - len(kept)
    return PromptPairs(
        name=name,
        clean=rows[0],
        corrupted=rows[1],
        answer_sets=tuple(right for right, _ in answers),
        wrong_sets=tuple(wrong for _, wrong in answers),
        clusters=_clusters(name, [pairs[at].template for at in kept]),
        tokens_clean=tuple(token_texts(model, clean[at]) for at in kept),
        tokens_corrupted=tuple(token_texts(model, corrupted[at]) for at in kept),
        answer_texts=tuple(token_texts(model, right) for right, _ in answers),
        wrong_texts=tuple(token_texts(model, wrong) for _, wrong in answers),
        notes=(f"{dropped} of {len(pairs)} pairs are left out: they have another number of tokens",) if dropped else (),
    )


def _row(model: Any, which: str, prompt: Prompt) -> Row:
    """The token ids of a prompt.

    Raises:
        TokensError: words that are not known, no tokens, more than the context holds, or ids that the model lacks.
    """
    if isinstance(prompt, str):
        require_tokenizer(model, which)
        ids = tokens_of(model, prompt)
        if unknown_token(model) in ids:
            raise TokensError(f"{which} has words that the tokenizer does not know: {shown(token_texts(model, ids))}")
    else:
        ids = tuple(index(token) for token in prompt)
        _require_in_vocabulary(model, which, ids)
    if not ids:
        raise TokensError(f"{which} has no tokens")
    if len(ids) > model.cfg.n_ctx:
        raise TokensError(
            f"{which} has {len(ids)} tokens, and the model reads {model.cfg.n_ctx} at most: "
            f"{shown(token_texts(model, ids))}"
        )
    return ids


def _require_in_vocabulary(model: Any, which: str, ids: Row) -> None:
    outside = [token for token in ids if not 0 <= token < model.cfg.d_vocab]
    if outside:
        raise TokensError(f"{which} has the token id {outside[0]}; the model has 0 to {model.cfg.d_vocab - 1}")


def _require_partners(model: Any, name: str, clean: Sequence[Row], corrupted: Sequence[Row]) -> None:
    unequal = [at for at, (row, other) in enumerate(zip(clean, corrupted, strict=True)) if len(row) != len(other)]
    if unequal:
        at = unequal[0]
        raise TokensError(
            f"clean and corrupted prompts must have the same number of tokens, so that each position has a partner; of "
            f"the {len(clean)} pairs of {name} these have not: {', '.join(map(str, unequal))}\n"
            f"  clean {at}, {len(clean[at])} tokens: {shown(token_texts(model, clean[at]))}\n"
            f"  corrupted {at}, {len(corrupted[at])} tokens: {shown(token_texts(model, corrupted[at]))}"
        )


def _of_equal_length(model: Any, name: str, rows: Sequence[Row], most_common: bool) -> list[int]:
    """Which pairs have the one length, or are asked for as those of the most common one."""
    lengths = [len(row) for row in rows]
    counts = Counter(lengths).most_common()
    if len(counts) > 1 and not most_common:
        firsts = {length: lengths.index(length) for length, _ in counts}
        examples = "\n".join(
            f"  {count} of {length} tokens, such as pair {firsts[length]}: "
            f"{shown(token_texts(model, rows[firsts[length]]))}"
            for length, count in counts
        )
        raise TokensError(
            f"the pairs of {name} must all have the same number of tokens, so that a position means the same in each; "
            f"most_common_length=True takes the {counts[0][1]} of {counts[0][0]} tokens\n{examples}"
        )
    return [at for at, length in enumerate(lengths) if length == counts[0][0]]


def _answers(model: Any, which: str, pair: Pair) -> tuple[Row, Row]:
    """The token ids of the right and of the wrong answers.

    Raises:
        TokensError: one is not a single token, is not known, is given twice, or is both right and wrong.
    """
    right, wrong = (_single(model, which, pair.clean, each(given)) for given in (pair.answer, pair.wrong))
    for what, ids in (("answer", right), ("wrong answer", wrong)):
        if not ids:
            raise TokensError(f"{which} has no {what}")
        if len(set(ids)) < len(ids):
            raise TokensError(f"{which} has a {what} twice: {shown(token_texts(model, ids))}")
    both = [token for token in right if token in wrong]
    if both:
        raise TokensError(f"{which} has the same answer and wrong answer: {shown(token_texts(model, both))}")
    return right, wrong


def _single(model: Any, which: str, prompt: Prompt, answers: Sequence[str | int]) -> Row:
    """The one token that each answer is behind the prompt."""
    texts = [answer for answer in answers if isinstance(answer, str)]
    if texts:
        require_tokenizer(model, f"an answer of {which}")
    before = prompt if isinstance(prompt, str) else ""
    tokens = dict(zip(texts, continuations(model, before, texts), strict=True)) if texts else {}
    for text, ids in tokens.items():
        if len(ids) != 1:
            (spaced,) = continuations(model, before, [f" {text.strip()}"])
            hint = f" Did you mean {f' {text.strip()}'!r}, with its space?" if len(spaced) == 1 else ""
            raise TokensError(
                f"an answer must be a single token of the model; {which} has {text!r}, which is {len(ids)}: "
                f"{shown(token_texts(model, ids)) or 'none'}.{hint}"
            )
        if ids[0] == unknown_token(model):
            raise TokensError(f"{which} has the answer {text!r}, which the tokenizer does not know")
    found = tuple(tokens[answer][0] if isinstance(answer, str) else index(answer) for answer in answers)
    _require_in_vocabulary(model, which, found)
    return found


def _clusters(name: str, templates: Sequence[str]) -> tuple[str, ...]:
    without = [at for at, template in enumerate(templates) if not template]
    if len(without) == len(templates):
        return ()
    if without:
        raise TokensError(
            f"{len(without)} of the {len(templates)} pairs of {name} name no template, pair {without[0]} first; name "
            "one for each pair, or for none"
        )
    return tuple(templates)


def _tensor(model: Any, rows: Sequence[Row]) -> Int[Tensor, "prompt pos"]:
    return torch.tensor(rows, device=getattr(model.cfg, "device", None) or "cpu")
