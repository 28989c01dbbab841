"""Random weights, as a step of its own: named schemes, an explicit generator, no global state touched."""

import math
from collections.abc import Callable, Iterator
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor, nn

from .config import HookedTransformerConfig
from .errors import ConfigError

Scheme = Literal["gpt2", "linear", "xavier", "normal", "deepnorm"]

_RESIDUAL_WRITERS = ("W_O", "W_out")


@runtime_checkable
class Initialisable(Protocol):
    """What a model must have to be initialised."""

    cfg: HookedTransformerConfig

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters by name."""
        ...


@torch.no_grad()
def initialise(model: Initialisable, scheme: Scheme, generator: torch.Generator, std: float | None = None) -> None:
    """The model's weight matrices drawn afresh, in place; biases 0, norm weights at their neutral value.

    * `gpt2`: N(0, 0.02), and 1/sqrt(2 n_layers) of it for what writes into the stream (Radford et al., 2019, 2.3).
    * `linear`: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of `nn.Linear`; embeddings N(0, 0.02).
    * `xavier`: N(0, 2 / (fan_in + fan_out)) over each head's matrix; embeddings N(0, 0.02) (Glorot, 2010).
    * `normal`: N(0, std) everywhere, embeddings too; TransformerLens calls this one "gpt2".
    * `deepnorm`: `xavier`, with values, outputs and MLPs scaled by (8 n_layers)^(-1/4) (Wang et al., 2022, table 1).

    Args:
        std: the standard deviation of `gpt2` and `normal` (default 0.02), and of the embeddings of the others.

    Raises:
        ConfigError: the scheme is not one of these.
    """
    if scheme not in get_args(Scheme):
        raise ConfigError(f"init scheme {scheme!r} is not known; choose one of {', '.join(get_args(Scheme))}")
    n_layers = model.cfg.n_layers
    std = 0.02 if std is None else std
    for name, parameter in model.named_parameters():
        leaf = name.rpartition(".")[2]
        if not leaf.lstrip("_").startswith("W_"):
            parameter.fill_(_neutral(leaf, parameter, model.cfg.d_model))
        elif leaf in ("W_E", "W_U", "W_pos") or scheme == "normal":
            parameter.normal_(0.0, std, generator=generator)
        else:
            _DRAW[scheme](parameter, leaf, std, n_layers, generator)


def initialise_as_configured(model: Initialisable, config: HookedTransformerConfig) -> None:
    """The weights that TransformerLens' config fields ask for (`init_mode`, `initializer_range`, `seed`).

    Without a seed one is drawn from PyTorch's global generator, so `torch.manual_seed` makes a model reproducible;
    nothing is reseeded.
    """
    seed = config.seed if config.seed is not None else int(torch.randint(2**31, ()))
    device = next(model.named_parameters())[1].device
    generator = torch.Generator(device).manual_seed(seed)
    if config.init_mode == "gpt2":
        initialise(model, "normal", generator, std=config.initializer_range)
        return
    for name, parameter in model.named_parameters():
        leaf = name.rpartition(".")[2]
        if leaf.lstrip("_").startswith("W_"):
            _draw_by_fans(parameter, config.init_mode, config.initializer_range, generator)
        else:
            parameter.detach().fill_(_neutral(leaf, parameter, config.d_model))


def _neutral(leaf: str, parameter: Tensor, d_model: int) -> float:
    if leaf != "w":
        return 0.0
    # A single number is ScaleNorm's, which starts at the length of a vector of unit variance.
    return 1.0 if parameter.numel() > 1 else math.sqrt(d_model)


def _fans(parameter: Tensor) -> tuple[int, int]:
    return parameter.shape[-2], parameter.shape[-1]


def _draw_gpt2(parameter: Tensor, leaf: str, std: float, n_layers: int, generator: torch.Generator) -> None:
    scale = 1 / math.sqrt(2 * n_layers) if leaf in _RESIDUAL_WRITERS else 1.0
    parameter.normal_(0.0, std * scale, generator=generator)


def _draw_linear(parameter: Tensor, leaf: str, std: float, n_layers: int, generator: torch.Generator) -> None:
    # The heads of W_O are one matrix [heads * d_head, d_model] as far as nn.Linear is concerned.
    fan_in = parameter.shape[0] * parameter.shape[1] if leaf == "W_O" else parameter.shape[-2]
    bound = 1 / math.sqrt(fan_in)
    parameter.uniform_(-bound, bound, generator=generator)


def _draw_xavier(parameter: Tensor, leaf: str, std: float, n_layers: int, generator: torch.Generator) -> None:
    parameter.normal_(0.0, math.sqrt(2 / sum(_fans(parameter))), generator=generator)


def _draw_deepnorm(parameter: Tensor, leaf: str, std: float, n_layers: int, generator: torch.Generator) -> None:
    gain = 1.0 if leaf in ("W_Q", "W_K", "_W_K") else (8 * n_layers) ** -0.25
    parameter.normal_(0.0, gain * math.sqrt(2 / sum(_fans(parameter))), generator=generator)


_DRAW: dict[str, Callable[[Tensor, str, float, int, torch.Generator], None]] = {
    "gpt2": _draw_gpt2,
    "linear": _draw_linear,
    "xavier": _draw_xavier,
    "deepnorm": _draw_deepnorm,
}


@torch.no_grad()
def _draw_by_fans(parameter: Tensor, mode: str, gain: float, generator: torch.Generator) -> None:
    fan_in, fan_out = _fans(parameter)
    std = gain * math.sqrt(2 / fan_in if mode.startswith("kaiming") else 2 / (fan_in + fan_out))
    if mode.endswith("uniform"):
        parameter.uniform_(-math.sqrt(3) * std, math.sqrt(3) * std, generator=generator)
    else:
        parameter.normal_(0.0, std, generator=generator)


def deepnorm_residual_scale(n_layers: int) -> float:
    """alpha = (2 n_layers)^(1/4), DeepNorm's weight of the skip in a decoder. Source: Wang et al. (2022), table 1."""
    return (2 * n_layers) ** 0.25
