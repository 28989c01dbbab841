"""The report on two models: one report on each, side by side, behind a panel on how they differ."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from .. import difference
from ..errors import ComparisonError
from ..manifest import manifest
from ..model_source import ModelSource
from ..prompts import Prompts
from ..result import Result
from .architecture import architecture, training
from .build import answer, answers, subject
from .panels import Panel, Report
from .summary import summary


def require_comparable(model: Any, other: Any, names: tuple[str, str]) -> None:
    """Nothing, if the same token ids mean the same to both.

    Raises:
        ComparisonError: their vocabularies have different sizes or different tokens, or one has no tokenizer.
    """
    sizes = [(each.cfg.d_vocab, each.cfg.d_vocab_out) for each in (model, other)]
    for what, one, two in zip(("reads", "predicts"), *sizes, strict=True):
        if one != two:
            raise ComparisonError(
                f"{names[0]} {what} {one} tokens and {names[1]} {two}: models are compared on the same tokens"
            )
    tokenizers: list[Any] = [getattr(each, "tokenizer", None) for each in (model, other)]
    if all(tokenizer is None for tokenizer in tokenizers):
        return
    for tokenizer, name, partner in zip(tokenizers, names, reversed(names), strict=True):
        if tokenizer is None:
            raise ComparisonError(
                f"{name} has no tokenizer and {partner} has one, so that the same ids may mean different tokens"
            )
    one, two = (tokenizer.get_vocab() for tokenizer in tokenizers)
    if one != two:
        differing = sorted(token for token in one.keys() | two.keys() if one.get(token) != two.get(token))
        token = differing[0]
        raise ComparisonError(
            f"the tokenizers of {names[0]} and {names[1]} differ in {len(differing)} tokens, the first of them "
            f"{token!r}: id {one.get(token, 'none')} in the one, {two.get(token, 'none')} in the other"
        )


def distinct_names(source: ModelSource, other: ModelSource) -> tuple[str, str]:
    """The names of the two; those of folders of the same name with as much of their paths as tells them apart."""
    if source.name != other.name:
        return source.name, other.name
    one, two = (each.path.resolve().parts for each in (source, other))
    for n in range(2, min(len(one), len(two)) + 1):
        if one[-n:] != two[-n:]:
            return "/".join(one[-n:]), "/".join(two[-n:])
    return source.name, f"{other.name} (again)"


def compare(
    models: tuple[Any, Any],
    sources: tuple[ModelSource, ModelSource],
    prompts: Prompts,
    paired: bool = False,
    on_panel: Callable[[str], None] = lambda name: None,
    names: Sequence[str] | None = None,
) -> Report:
    """The report on both models on the same prompts; each panel holds the answers of both, the first what differs.

    Raises:
        ComparisonError: the same tokens do not mean the same to both.
    """
    called = distinct_names(*sources)
    require_comparable(*models, called)
    asked = SimpleNamespace(Options=difference.Options, run=partial(_difference, models[1], called))
    panels = [answer("difference", asked, models[0], [("", prompts.tokens)], on_panel)]
    both = [
        answers(model, prompts.tokens, paired, partial(_told, on_panel, name), names)
        for model, name in zip(models, called, strict=True)
    ]
    panels += [_merged(one, two, called) for one, two in zip(*both, strict=True)]
    each = list(zip(called, models, sources, strict=True))
    against = {"against": str(sources[1].path), "against_weights_sha256": sources[1].weights_sha256()}
    return Report(
        f"{called[0]} against {called[1]}",
        {name: architecture(model) | training(source) for name, model, source in each},
        tuple(panels),
        manifest(models[0], sources[0], prompts) | against,
        summary([subject(*one, prompts) for one in each], panels, prompts.origin),
    )


def _difference(other: Any, names: tuple[str, str], model: Any, tokens: Any, options: difference.Options) -> Result:
    return difference.run(model, other, tokens, options, names)


def _told(on_panel: Callable[[str], None], model: str, panel: str) -> None:
    on_panel(f"{panel} of {model}")


def _merged(one: Panel, two: Panel, names: tuple[str, str]) -> Panel:
    """The answers of both, each under its model's name."""
    parts = tuple(
        replace(part, label=f"{name}, {part.label.lower()}" if part.label else name)
        for panel, name in zip((one, two), names, strict=True)
        for part in panel.parts
    )
    return Panel(one.name, parts, one.options, one.seconds + two.seconds)
