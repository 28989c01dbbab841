"""Modular addition: the frequencies in which a model adds, and the proof that it needs those and no others."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from interp.fourier import power_by_frequency
from interp.modular_addition import (
    ANSWERED_AT,
    Answers,
    LogitWaves,
    answer_logits,
    answers,
    embedding_shares,
    key_frequencies,
    logit_waves,
    neuron_waves,
    sums,
    with_frequencies,
)

from .errors import NotApplicableError
from .modular_addition_figures import attention_figure, frequencies_figure, neurons_figure
from .result import Identity, Result

_LARGEST_MODULUS = 199
_ADDS = 0.5
"""A model that answers less than this of the sums right is not said to add."""
_KEPT, _LOST = 0.9, 0.1
"""The shares of the right answers from which on they are said to be kept, and up to which to be lost."""
_ONE_FREQUENCY = 0.85
"""The share of a neuron's variance above which it is said to be of one frequency, as in the paper."""


@dataclass(frozen=True)
class Options:
    """Which frequencies count."""

    key_share: float = field(
        default=0.01, metadata={"help": "The share of the logits from which on a frequency is a key frequency."}
    )

    def __post_init__(self) -> None:
        if not 0 < self.key_share < 1:
            raise ValueError(f"key_share={self.key_share} must be between 0 and 1")


@torch.no_grad()
def run(model: Any, tokens: Int[Tensor, "batch pos"], options: Options = Options()) -> Result:
    """The waves in embedding, neurons and logits over the whole table of sums; the tokens given are not read.

    Raises:
        NotApplicableError: the model does not add modulo its vocabulary less one.
    """
    modulus = _modulus(model, tokens.device)
    rows = sums(modulus).to(tokens.device)
    logits = answer_logits(model, rows)
    whole = answers(logits, rows)
    waves = logit_waves(logits, rows)
    keys = key_frequencies(waves.by_frequency, options.key_share)
    if not keys:
        raise NotApplicableError(f"no frequency has {options.key_share:.0%} of the logits: a lower --key-share may")
    ablations = _ablations(model, rows, whole, keys, modulus)
    neurons = _neurons(model, rows, modulus)
    frequencies = _frequencies(model, waves, neurons, keys, modulus)
    attention = _attention(model, rows)
    return Result(
        name="modular-addition",
        title="How it adds",
        question=f"By what algorithm does the model add modulo {modulus}?",
        verdict=_verdict(modulus, whole, waves, keys, ablations, neurons),
        numbers={
            "right_answers": whole.accuracy,
            "loss_of_the_answer_nats": whole.loss_nats,
            "key_frequencies": ", ".join(map(str, keys)),
            "logits_that_depend_on_the_sum_alone": waves.of_the_sum,
            "logits_in_the_key_frequencies": float(waves.by_frequency[keys].sum()),
            "right_answers_with_key_frequencies_only": float(ablations.right_answers.iloc[1]),
            "right_answers_without_them": float(ablations.right_answers.iloc[2]),
            "neurons_of_one_frequency": float((neurons.share >= _ONE_FREQUENCY).mean()) if len(neurons) else 0.0,
        },
        tables={
            "By frequency": frequencies,
            "Embeddings with some frequencies only": ablations,
            "Neurons": neurons,
            "Attention from the sign =": attention,
        },
        figures={
            "Where the frequencies are": frequencies_figure(frequencies),
            "Neurons by their best single frequency": neurons_figure(neurons, _ONE_FREQUENCY),
            "Attention from the sign =, over a": attention_figure(attention),
        },
        identities=(
            Identity(
                "what depends on the sum alone and the rest make up the logits' variance", waves.pythagoras, 1e-10
            ),
            Identity("the power of all frequencies is that of the embeddings", _parseval(model, modulus), 1e-10),
        ),
        what_it_is="Every number is laid on a circle, at an angle that is a multiple (the frequency) of 2π/p. A model "
        "that adds in this way turns a and b into cosines and sines, multiplies them into those of a + b, and says "
        "the c for which cos(w(a + b - c)), summed over a few frequencies, is largest. The table of all sums is run, "
        "and logits, neurons and embeddings are taken apart into frequencies.",
        how_to_read="A bar says how much of the variance lies in a frequency: in the logits as a function of "
        "a + b - c, in the embeddings of the numbers. A spread-out embedding would have the null's share in each. The "
        "table of ablations is the causal test: the embeddings keep some frequencies only, and the model answers all "
        "sums again; as many random other frequencies are the control. A neuron is of one frequency if one wave in a "
        "and b, with its products, has 85 % of its variance. Nothing is sampled: these are all sums there are.",
        source="Nanda et al. (2023), Progress measures for grokking via mechanistic interpretability, 4 and 5.",
    )


def _modulus(model: Any, device: torch.device) -> int:
    modulus = model.cfg.d_vocab - 1
    if model.cfg.n_ctx < ANSWERED_AT + 1 or not 3 <= modulus <= _LARGEST_MODULUS or modulus % 2 == 0:
        raise NotApplicableError(
            "the model is not one of modular addition, with a vocabulary of an odd modulus up to "
            f"{_LARGEST_MODULUS} and the sign ="
        )
    rows = sums(modulus).to(device)
    some = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:256]]
    accuracy = answers(answer_logits(model, some), some).accuracy
    if accuracy < _ADDS:
        raise NotApplicableError(
            f"the model does not add: it answers {accuracy:.0%} of the sums modulo {modulus} right"
        )
    return modulus


def _parseval(model: Any, modulus: int) -> float:
    W_E = model.embed.W_E[:modulus].double()
    whole = W_E.square().sum()
    return float((power_by_frequency(W_E).sum() - whole).abs() / whole)


def _ablations(model: Any, rows: Tensor, whole: Answers, keys: list[int], modulus: int) -> pd.DataFrame:
    others = [k for k in range(1, modulus // 2 + 1) if k not in keys]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(0)).tolist()
    control = sorted(others[index] for index in order[: len(keys)])
    without_control = [k for k in range(1, modulus // 2 + 1) if k not in control]
    kept = {
        "all": (whole, list(range(modulus // 2 + 1))),
        "key frequencies only": (None, [0, *keys]),
        "all but the key frequencies": (None, [0, *others]),
        "as many others only": (None, [0, *control]),
        "all but as many others": (None, [0, *without_control]),
    }
    found = {name: known or with_frequencies(model, rows, chosen) for name, (known, chosen) in kept.items()}
    return pd.DataFrame(
        {
            "embeddings_keep": list(found),
            "n_frequencies": [len(chosen) - 1 for _, chosen in kept.values()],
            "right_answers": [answer.accuracy for answer in found.values()],
            "loss_nats": [answer.loss_nats for answer in found.values()],
        }
    )


def _neurons(model: Any, rows: Tensor, modulus: int) -> pd.DataFrame:
    name = "blocks.0.mlp.hook_post"
    if name not in model.hook_dict:
        return pd.DataFrame({"layer": [], "neuron": [], "frequency": [], "share": []})
    _, cache = model.run_with_cache(rows, names_filter=[name])
    shares, frequencies = neuron_waves(cache[name][:, ANSWERED_AT], modulus)
    return pd.DataFrame(
        {"layer": 0, "neuron": range(len(shares)), "frequency": frequencies.tolist(), "share": shares.tolist()}
    )


def _frequencies(model: Any, waves: LogitWaves, neurons: pd.DataFrame, keys: list[int], modulus: int) -> pd.DataFrame:
    embedded = embedding_shares(model.embed.W_E[:modulus])
    counts = neurons[neurons.share >= _ONE_FREQUENCY].frequency.value_counts()
    frequencies = range(1, modulus // 2 + 1)
    return pd.DataFrame(
        {
            "frequency": frequencies,
            "share_of_logits": waves.by_frequency[1:].tolist(),
            "share_of_embeddings": embedded[1:].tolist(),
            "share_if_spread_evenly": 2 / (modulus - 1),
            "neurons_of_this_frequency": [int(counts.get(k, 0)) for k in frequencies],
            "is_key": [k in keys for k in frequencies],
        }
    )


def _attention(model: Any, rows: Tensor) -> pd.DataFrame:
    name = "blocks.0.attn.hook_pattern"
    _, cache = model.run_with_cache(rows, names_filter=[name])
    pattern = cache[name][:, :, ANSWERED_AT, : ANSWERED_AT + 1].double()
    modulus = int(rows[0, ANSWERED_AT])
    by_a = pattern.reshape(modulus, modulus, *pattern.shape[1:]).mean(dim=1)
    heads = [(a, head) for a in range(modulus) for head in range(by_a.shape[1])]
    return pd.DataFrame(
        {
            "a": [a for a, _ in heads],
            "head": [f"L0H{head}" for _, head in heads],
            "attention_to_a": [float(by_a[a, head, 0]) for a, head in heads],
            "attention_to_b": [float(by_a[a, head, 1]) for a, head in heads],
            "attention_to_the_sign": [float(by_a[a, head, 2]) for a, head in heads],
        }
    )


def _verdict(
    modulus: int, whole: Answers, waves: LogitWaves, keys: list[int], ablations: pd.DataFrame, neurons: pd.DataFrame
) -> str:
    control, without_control = (ablations.right_answers.iloc[row] for row in (3, 4))
    of_one = f"{(neurons.share >= _ONE_FREQUENCY).mean():.0%} of the neurons have" if len(neurons) else "No neuron has"
    controlled = (
        f"The control, as many other frequencies drawn at random: {control:.1%} with those alone, "
        f"{without_control:.1%} without them. "
        if 2 * len(keys) <= modulus // 2
        else "There are not as many other frequencies for a control. "
    )
    return (
        f"{_finding(modulus, whole, keys, ablations)}\n"
        f"{controlled}Untouched the model answers {whole.accuracy:.2%} right.\n"
        f"{waves.of_the_sum:.1%} of the logits' variance depends on a + b - c alone, and "
        f"{float(waves.by_frequency[keys].sum()):.1%} lies in these frequencies of it.\n"
        f"{of_one} {_ONE_FREQUENCY:.0%} of their variance in a single frequency."
    )


def _finding(modulus: int, whole: Answers, keys: list[int], ablations: pd.DataFrame) -> str:
    only, without, control, without_control = (ablations.right_answers.iloc[row] for row in (1, 2, 3, 4))
    named = ", ".join(map(str, keys[:-1])) + (" and " if keys[1:] else "") + str(keys[-1])
    answered = f"with those alone in its embeddings it answers {only:.1%} of all sums right, without them {without:.1%}"
    few = 2 * len(keys) <= modulus // 2
    kept, lost = only >= _KEPT * whole.accuracy, without <= _LOST * whole.accuracy
    specific = control <= _LOST * whole.accuracy and without_control >= _KEPT * whole.accuracy
    if few and kept and lost and specific:
        return (
            f"It adds by turning numbers around circles at frequencies {named} (of {modulus // 2}): {answered}, and as "
            "many others drawn at random are neither enough nor needed."
        )
    if not few:
        return (
            f"{len(keys)} of {modulus // 2} frequencies have a part of the logits worth counting, so no few circles "
            f"explain how it adds; {answered}."
        )
    why = "they are not enough" if not kept else "it does not need them" if not lost else "others do as well"
    return f"The frequencies {named} (of {modulus // 2}) do not explain how it adds, because {why}: {answered}."
