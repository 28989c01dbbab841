"""Everything that is observed of a model, by calls that a user's script would make.

The same lines run on TransformerLens 3.9's HookedTransformer and on ours: that they run at all is half the contract.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .configurations import Configuration


@dataclass(frozen=True)
class Side:
    """One implementation of the contract."""

    config: Callable[..., Any]
    model: Callable[..., Any]
    key_value_cache: Any

    def build(self, configuration: Configuration) -> Any:
        """The configuration's model, with its weights."""
        fields = {**configuration.config, "dtype": torch.float64}
        model = self.model(self.config(**fields))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(torch.from_numpy(configuration.weight(name, tuple(parameter.shape))))
        return model.eval()


@dataclass
class Observations:
    """Arrays by name, and the names of the hook points in the order in which they fired."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    firing: list[str] = field(default_factory=list)

    def add(self, name: str, values: Tensor) -> None:
        """The values kept under the name."""
        self.arrays[name] = values.detach().to(torch.float64).numpy().copy()


def observe(side: Side, configuration: Configuration) -> Observations:
    """Everything that is compared of one configuration."""
    seen = Observations()
    model = side.build(configuration)
    tokens = torch.from_numpy(configuration.tokens)
    mask = configuration.attention_mask
    masked = {} if mask is None else {"attention_mask": torch.from_numpy(mask)}
    _observe_forward(seen, model, tokens, masked)
    _observe_activations(seen, model, tokens, masked)
    _observe_part_runs(seen, model, tokens, masked)
    _observe_weights(seen, model, tokens)
    # TransformerLens cannot hold keys and values for the ungrouped form: its cache has a place a group.
    if configuration.config.get("attention_dir") != "bidirectional" and not model.cfg.ungroup_grouped_query_attention:
        _observe_cached_runs(seen, side, model, tokens, masked)
        if model.cfg.d_vocab_out == model.cfg.d_vocab and not masked:
            _observe_generation(seen, model, tokens)
    if configuration.gradients:
        _observe_gradients(seen, model, tokens, masked)
    if configuration.processing:
        _observe_processing(seen, model, tokens)
    return seen


def _observe_forward(seen: Observations, model: Any, tokens: Tensor, masked: dict[str, Tensor]) -> None:
    seen.add("logits", model(tokens, **masked))
    if model.cfg.d_vocab_out != model.cfg.d_vocab:
        return
    seen.add("loss", model(tokens, return_type="loss", **masked))
    both = model(tokens, return_type="both", loss_per_token=True, **masked)
    seen.add("loss per token", both.loss)
    seen.add("logits of both", both[0])


def _observe_activations(seen: Observations, model: Any, tokens: Tensor, masked: dict[str, Tensor]) -> None:
    def note(activation: Tensor, hook: Any) -> None:
        seen.firing.append(hook.name)

    model.run_with_hooks(tokens, fwd_hooks=[(lambda name: True, note)], **masked)
    logits, cache = model.run_with_cache(tokens, **masked)
    seen.add("logits of the cached run", logits)
    for name, activation in cache.items():
        seen.add(f"activation {name}", activation)
    _, sliced = model.run_with_cache(tokens, pos_slice=(1, 3), names_filter=lambda name: "pattern" in name, **masked)
    for name, activation in sliced.items():
        seen.add(f"positions 1 to 3 of {name}", activation)


def _observe_part_runs(seen: Observations, model: Any, tokens: Tensor, masked: dict[str, Tensor]) -> None:
    seen.add("embedded", model(tokens, stop_at_layer=0, **masked))
    before_last = model(tokens, stop_at_layer=-1, **masked)
    seen.add("stream before the last block", before_last)
    # TransformerLens leaves shortformer's positions out there, unless it is given them once more.
    if model.cfg.positional_embedding_type != "shortformer":
        seen.add("logits from the last block", model(before_last, start_at_layer=-1, **masked))


def _observe_cached_runs(seen: Observations, side: Side, model: Any, tokens: Tensor, masked: dict[str, Tensor]) -> None:
    mask = masked.get("attention_mask", torch.ones_like(tokens))
    cache = side.key_value_cache.init_cache(model.cfg, "cpu", tokens.shape[0])
    for part, (start, stop) in {"first": (0, 3), "second": (3, 4), "third": (4, None)}.items():
        logits = model(tokens[:, start:stop], past_kv_cache=cache, attention_mask=mask[:, start:stop])
        seen.add(f"logits of the {part} part, keys and values held", logits)


def _observe_generation(seen: Observations, model: Any, tokens: Tensor) -> None:
    n_new = model.cfg.n_ctx - tokens.shape[1]
    options = {"max_new_tokens": n_new, "do_sample": False, "stop_at_eos": False, "verbose": False}
    seen.add("generated", model.generate(tokens, use_past_kv_cache=False, **options))
    # With learned positions and held keys, TransformerLens' generate fails without a tokenizer.
    if model.cfg.positional_embedding_type == "rotary":
        seen.add("generated with held keys", model.generate(tokens, **options))


def _observe_weights(seen: Observations, model: Any, tokens: Tensor) -> None:
    names = ["W_E", "W_U", "b_U", "W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O"]
    names += [] if model.cfg.attn_only else ["W_in", "W_out", "b_in", "b_out"]
    names += ["W_gate"] if model.cfg.gated_mlp else []
    names += ["W_pos", "W_E_pos"] if model.cfg.positional_embedding_type in ("standard", "shortformer") else []
    for name in names:
        weights = getattr(model, name)
        seen.add(f"squares of {name}", weights.pow(2).sum(dim=tuple(range(weights.ndim))[-2:]))
        seen.add(f"shape of {name}", torch.tensor(weights.shape))
    for mode in ("Q", "K", "V"):
        seen.add(f"{mode}-composition", model.all_composition_scores(mode))
    for layer in range(model.cfg.n_layers):
        for mlp_input in (False, True):
            for with_mlps in {False, not model.cfg.attn_only}:
                bias = model.accumulated_bias(layer, mlp_input=mlp_input, include_mlp_biases=with_mlps)
                seen.add(f"bias before {layer}, mlp_input={mlp_input}, include_mlp_biases={with_mlps}", bias)
    few = tokens[0, :3] % model.cfg.d_vocab_out
    seen.add("directions of three tokens", model.tokens_to_residual_directions(few))
    seen.add("direction of one token", model.tokens_to_residual_directions(int(few[0])))


def _observe_gradients(seen: Observations, model: Any, tokens: Tensor, masked: dict[str, Tensor]) -> None:
    # Summed over firings: TransformerLens runs ln1 three times, for queries, keys and values, with a third each.
    total: dict[str, Tensor] = {}

    def add(gradient: Tensor, hook: Any) -> None:
        total[hook.name] = total.get(hook.name, 0.0) + gradient

    with model.hooks(bwd_hooks=[(lambda name: True, add)]):
        model(tokens, return_type="loss", **masked).backward()
    for name, gradient in total.items():
        seen.add(f"gradient {name}", gradient)
    for name, parameter in model.named_parameters():
        seen.add(f"gradient of parameter {name}", parameter.grad)
    _, cache = model.run_with_cache(tokens, return_type="loss", incl_bwd=True, **masked)
    for name, values in cache.items():
        if name.endswith("_grad") and ".ln1." not in name:
            seen.add(f"cached {name}", values)


def _observe_processing(seen: Observations, model: Any, tokens: Tensor) -> None:
    root_mean_square = model.cfg.normalization_type == "RMS"
    state = {name: values.clone() for name, values in model.state_dict().items()}
    state = model.fold_layer_norm(state, fold_biases=not root_mean_square, center_weights=not root_mean_square)
    if not root_mean_square:
        state = model.center_writing_weights(state)
    state = model.fold_value_biases(model.center_unembed(state))
    for name, values in state.items():
        module, _, leaf = name.rpartition(".")
        # What is folded away TransformerLens leaves behind as ones under RMSNorm, and takes out under LayerNorm.
        folded = module.rpartition(".")[2] in ("ln1", "ln2", "ln", "ln_final")
        if not folded and leaf not in ("mask", "IGNORE", "rotary_sin", "rotary_cos"):
            seen.add(f"processed {name}", values)
