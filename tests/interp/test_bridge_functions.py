"""Every function of the library that takes a model, on bridges: the numbers of our model with the same weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from interp import EngineError, LogitDifference, NotASumError, edited, joint, logit_lens, sweep
from interp.attribution import Target, attribution
from interp.component_ablation import ablations, components
from interp.digests import weights_digest
from interp.edges import edge_effects
from interp.engine.plain import activations
from interp.gradient_flow import gradient_lengths
from interp.head_ablation import head_outputs, mean_ablation, path_ablation
from interp.head_scores import attention_patterns, attention_scores
from interp.in_context import next_token_losses
from interp.model_difference import prediction_difference, stream_difference
from interp.path_expansion import frozen_model
from interp.patterns import pattern_statistics, patterns
from interp.prefix import prefix_differences
from interp.residual import residual_writes
from interp.residual_ablation import ablated, branch_scaled, branches, edge_hidden, skip_removed, streams
from interp.sample_copying import copying_on_samples
from interp.score_decomposition import score_terms
from interp.weights import composition_scores
from tests.interp.bridges import Kind, bridge, converted, running

TOKENS = torch.tensor([[5, 9, 31, 5, 9, 12], [8, 3, 8, 22, 3, 36], [17, 2, 4, 17, 17, 2]])
OTHER = torch.randint(1, 37, (3, 6), generator=torch.Generator().manual_seed(5))
QUERIES = torch.tensor([5, 4, 3])
METRIC = LogitDifference(torch.tensor([3, 5, 7]), torch.tensor([4, 6, 8]))
DISTINCT = torch.stack([torch.randperm(36, generator=torch.Generator().manual_seed(i))[:6] + 1 for i in range(2)])


def swept(point: str, *over: str, **options: Any) -> Callable[[Any], Tensor]:
    def values(model: Any) -> Tensor:
        found = sweep(model, TOKENS, OTHER, point, over, METRIC, direction="denoising", engine="hooks", **options)
        return found.values

    return values


def written(stream: str) -> Callable[[Any], Tensor]:
    return lambda model: torch.stack([part.value() for part in residual_writes(model, TOKENS, stream)])


def removed_components(model: Any) -> Tensor:
    return ablations(model, TOKENS, METRIC, "mean").effects([[one] for one in components(model)])


def removed_residuals(model: Any) -> Tensor:
    _, clean = activations(model, TOKENS, streams(model))
    every = branches(model)
    chosen = [branch_scaled(one, clean, "mean") for one in every]
    chosen += [skip_removed(one, clean, "resample") for one in every]
    chosen += [edge_hidden(every[0], reader, clean, "zero", every[-1]) for reader in [*every[1:], "logits"]]
    return torch.stack([ablated(model, one, clean)[0] for one in chosen])


def with_mean_heads(model: Any) -> Tensor:
    with edited(model, mean_ablation(model, [(0, 1), (1, 2)], head_outputs(model, OTHER, [0, 1]))):
        return model(TOKENS)


def with_hidden_paths(model: Any) -> Tensor:
    model.set_use_split_qkv_input(True)
    try:
        outputs, others = head_outputs(model, TOKENS, [0, 1]), head_outputs(model, OTHER, [0, 1])
        with edited(model, path_ablation(model, [(0, 1)], [(1, 1)], "qkv", outputs, others)):
            return model(TOKENS)
    finally:
        model.set_use_split_qkv_input(False)


def joined(model: Any) -> Tensor:
    places = {"two": [("z", {"layer": 0, "head": 1}), ("resid_mid", {"layer": 1, "pos": 5})]}
    return joint(model, TOKENS, OTHER, places, METRIC, direction="noising", engine="hooks").values


def composed(model: Any) -> Tensor:
    first, second = model.blocks[0].attn, model.blocks[1].attn
    n_groups = model.cfg.n_key_value_heads or model.cfg.n_heads
    W_V, W_K = (every[:: len(every) // n_groups] for every in (first.W_V, second.W_K))
    return composition_scores(W_V, first.W_O[:n_groups], second.W_Q[:n_groups], W_K.mT).score


FUNCTIONS: dict[str, Callable[[Any], Tensor]] = {
    "logits": lambda model: model(TOKENS),
    "lens": lambda model: logit_lens(model, TOKENS).next_logit,
    "lens, kl": lambda model: logit_lens(model, TOKENS).kl,
    "attribution": lambda model: attribution(model, TOKENS, Target(TOKENS.roll(-1, 1), "mean")).shares,
    "attribution, value": lambda model: attribution(model, TOKENS, Target(TOKENS.roll(-1, 1), "mean")).value,
    "writes": written("blocks.2.hook_resid_post"),
    "writes, mid": written("blocks.1.hook_resid_mid"),
    "head scores": lambda m: torch.stack([one.excess for one in attention_scores(m, TOKENS).by_kind.values()]),
    "attention patterns": lambda model: torch.stack(attention_patterns(model, TOKENS)),
    "patterns": lambda model: patterns(model, TOKENS).value_weighted,
    "pattern statistics": lambda model: pattern_statistics(model, TOKENS).first_read,
    "pattern statistics, even": lambda model: pattern_statistics(model, TOKENS).even_entropy,
    "losses": lambda model: next_token_losses(model, TOKENS),
    "score terms": lambda model: score_terms(model, TOKENS, 1, 2, QUERIES).terms,
    "copying": lambda model: copying_on_samples(model, DISTINCT, 0).values,
    "prefix": lambda model: prefix_differences(model, TOKENS, [2, 4]).replaced,
    "components": removed_components,
    "residual ablation": removed_residuals,
    "mean heads": with_mean_heads,
    "hidden paths": with_hidden_paths,
    "gradient lengths": lambda model: gradient_lengths(model, TOKENS, torch.ones(5, dtype=torch.bool)),
    "composition": composed,
    "joint": joined,
    "sweep, resid_pre": swept("resid_pre", "layer"),
    "sweep, resid_mid": swept("resid_mid", "layer", "pos"),
    "sweep, resid_post": swept("resid_post", "layer"),
    "sweep, attn_out": swept("attn_out", "layer"),
    "sweep, mlp_out": swept("mlp_out", "layer"),
    "sweep, mlp_post": swept("mlp_post", "layer"),
    "sweep, z": swept("z", "layer", "head", verify=1),
    "sweep, q": swept("q", "layer"),
    "sweep, k": swept("k", "layer"),
    "sweep, v": swept("v", "layer"),
    "sweep, pattern": swept("pattern", "layer"),
    "sweep, scores": swept("attn_scores", "layer"),
    "sweep, zero": swept("z", "layer", intervention="zero"),
    "sweep, mean": swept("z", "layer", intervention="mean", reference=OTHER),
    "sweep, frozen": swept("z", "layer", freeze=["blocks.*.attn.hook_pattern"]),
}
SOME = ["attribution", "writes, mid", "score terms", "composition", "hidden paths", "gradient lengths", "joint"]
TABLE: list[tuple[str, str, Kind]] = [
    *((name, "gpt2", "booted") for name in FUNCTIONS),
    *((name, "llama", "folded") for name in FUNCTIONS),
    *(
        (name, case, kind)
        for case, kind in (("gpt2", "folded"), ("llama", "booted"), ("gemma2", "booted"))
        for name in SOME
    ),
]
REFUSED = {("score terms", "llama"), ("score terms", "gemma2")}
"""Where the bridge's config leaves out what is needed: how far positions turn, how scores are scaled."""


@pytest.mark.parametrize(("name", "case", "kind"), TABLE)
def test_a_function_gives_on_a_bridge_what_it_gives_on_our_model(name: str, case: str, kind: Kind) -> None:
    function, ours, theirs = FUNCTIONS[name], converted(case, kind), bridge(case, kind)
    with running():
        expected = function(ours)
        if (name, case) in REFUSED:
            with pytest.raises(NotASumError, match="do not sum to the scores of this bridge"):
                function(theirs)
            return
        assert_close(function(theirs).detach(), expected.detach(), rtol=1e-9, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize("case", ["gpt2", "llama"])
def test_two_models_are_compared_across_the_libraries(case: str) -> None:
    ours, theirs = converted(case), bridge(case)
    with running():
        assert float(prediction_difference(ours, theirs, TOKENS).kl.max()) < 1e-9
        found = stream_difference(theirs, ours, TOKENS)
    assert found is not None
    assert_close(found.cosine, torch.ones_like(found.cosine))
    assert weights_digest(theirs) == weights_digest(theirs)


def test_what_needs_blocks_of_ours_says_so() -> None:
    with running(), pytest.raises(EngineError, match="a TransformerBridge is not built of blocks"):
        edge_effects(bridge("gpt2"), TOKENS, OTHER, METRIC, direction="denoising")
    with running(), pytest.raises(EngineError, match="a TransformerBridge is not built of blocks"):
        sweep(bridge("gpt2"), TOKENS, OTHER, "z", ["layer"], METRIC, direction="denoising", engine="wavefront")
    with running(), pytest.raises(NotASumError, match="it has MLPs"):
        frozen_model(bridge("gpt2"), TOKENS)
    found = edge_effects(converted("gpt2"), TOKENS, OTHER, METRIC, direction="denoising", senders=["L0H0"])
    assert found.values.abs().max() > 0.01


@pytest.mark.parametrize("case", ["granite", "bloom", "olmo2"])
def test_a_stream_that_blocks_scale_is_summed_or_refused(case: str) -> None:
    model, last = bridge(case), "blocks.2.hook_resid_post"
    with running():
        if case == "granite":
            with pytest.raises(NotASumError, match="do not sum to the stream of this bridge"):
                residual_writes(model, TOKENS, last)
            with pytest.raises(NotASumError, match="do not sum to the stream of this bridge"):
                attribution(model, TOKENS, Target(TOKENS))
            return
        total = torch.stack([part.value() for part in residual_writes(model, TOKENS, last)]).sum(dim=0)
        _, seen = activations(model, TOKENS, [last])
    assert_close(total, seen[last])


def test_a_window_is_read_off_the_wrapped_attention() -> None:
    for case in ("gpt_neo", "mistral", "gemma3_text"):
        with running():
            ours, theirs = (pattern_statistics(make(case), TOKENS).even_entropy for make in (converted, bridge))
        assert_close(theirs, ours)
