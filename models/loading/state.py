"""State dicts made to fit a model exactly: TransformerLens' leftovers dropped by name, everything else strict."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..hooked import HookedModel

# Buffers that TransformerLens up to 3.9 saved among the weights; the config determines each of them.
_STRAY = re.compile(r"blocks\.\d+\.attn\.(mask|IGNORE|rotary_sin|rotary_cos)")
_FOLDED_NORM = re.compile(r"(blocks\.\d+\.(ln1|ln2|mlp\.ln)|ln_final)\.[wb]")
_QKV_BIAS = re.compile(r"blocks\.\d+\.attn\.(b_Q|_?b_K|_?b_V)")
_SHOWN = 8


def accepted(model: HookedModel, state: Mapping[str, Any], strict: bool = True) -> dict[str, Tensor]:
    """The entries of a state dict that are the model's parameters, each of the right shape and finite.

    Left out, because the model has them in another form: TransformerLens' buffers `blocks.{l}.attn.mask`, `IGNORE`,
    `rotary_sin` and `rotary_cos`; `unembed.W_U` where the unembedding is tied and the matrix is the embedding's
    transpose; query, key and value biases of a model without them, where they are zero; weights and biases of norms
    that are folded away, where they are one and zero.

    Args:
        strict: whether missing and unexpected names are errors. Shapes and values are checked in any case.

    Raises:
        CheckpointError: names missing or unexpected (both lists), a wrong shape, a value that is not finite, an
            unembedding, bias or norm that the model has no place for.
    """
    wanted = model.state_dict()
    kept = {
        name: value
        for name, value in state.items()
        if not _STRAY.fullmatch(name) and not (name not in wanted and _is_redundant(model, state, name))
    }
    if strict:
        _require_same_names(wanted, kept)
    for name in kept.keys() & wanted.keys():
        _require_fit(name, kept[name], wanted[name])
    return kept


def _is_redundant(model: HookedModel, state: Mapping[str, Any], name: str) -> bool:
    value = state[name]
    if not isinstance(value, Tensor):
        return False
    if name == "unembed.W_U" and model.cfg.tie_word_embeddings:
        embedding = state.get("embed.W_E")
        if not isinstance(embedding, Tensor) or not torch.equal(value, embedding.T.to(value)):
            raise CheckpointError(
                "unembed.W_U is not the transpose of embed.W_E, and this model ties them; "
                "build it with tie_word_embeddings=False"
            )
        return True
    if _QKV_BIAS.fullmatch(name) and not model.cfg.qkv_bias:
        if bool(value.any()):
            raise CheckpointError(f"{name} is not zero, and this model has no such bias; build it with qkv_bias=True")
        return True
    if _FOLDED_NORM.fullmatch(name) and model.cfg.normalization_type in ("LNPre", "RMSPre"):
        if not bool((value == (1 if name.endswith(".w") else 0)).all()):
            raise CheckpointError(
                f"{name} is not the identity, and this model's norms have no weights; load_and_process_state_dict of a "
                f"model with normalization_type={model.cfg.normalization_type.removesuffix('Pre')!r} folds them"
            )
        return True
    return False


def _require_same_names(wanted: Iterable[str], given: Iterable[str]) -> None:
    missing, unexpected = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or unexpected:
        raise CheckpointError(
            f"the weights are not this model's: missing {_listed(missing)}; unexpected {_listed(unexpected)}"
        )


def _require_fit(name: str, value: Any, wanted: Tensor) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        found = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise CheckpointError(f"{name} holds {found}, not floating-point numbers")
    if value.shape != wanted.shape:
        raise CheckpointError(f"{name} has shape {list(value.shape)}; the model's has {list(wanted.shape)}")
    # In the model's dtype: a number beyond the range of float16 becomes infinite there.
    require_finite(name, value.to(wanted.dtype))


def require_finite(name: str, value: Tensor) -> None:
    """Nothing, if every number is finite.

    Raises:
        CheckpointError: a NaN or an infinity, counted.
    """
    # The bounds of all numbers are NaN if one is; they are found sixty times faster than the numbers are counted.
    # In the order of memory, because PyTorch would copy a matrix that is seen transposed.
    as_stored = value.permute(sorted(range(value.ndim), key=value.stride, reverse=True))
    if value.numel() == 0 or all(bound.isfinite() for bound in as_stored.aminmax()):
        return
    broken = int((~value.isfinite()).sum())
    if broken:
        raise CheckpointError(f"{name} has {broken} of {value.numel()} numbers that are not finite")


def _listed(names: list[str]) -> str:
    if not names:
        return "nothing"
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
