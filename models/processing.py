"""The methods that rewrite a model's weights without changing what it computes, under TransformerLens' names."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from . import processing_steps as steps
from .config import HookedTransformerConfig, Normalization
from .errors import ProcessingError
from .hooked import HookedModel
from .loading.assembled import assemble
from .loading.state import accepted, require_finite
from .processing_steps import State
from .rewriting import Rewriting, rewrite

_PRE: dict[Normalization | None, Normalization] = {"LN": "LNPre", "RMS": "RMSPre"}


class WeightProcessing(HookedModel):
    """Folding and centring. Methods named as a step take a state dict and return a new one; nothing is in place.

    Steps are exact in the dtype given: float64 stays float64; 16-bit weights are computed with in float32 and
    rounded once. A step that would change what the model computes raises `ProcessingError`.

    Where a whole pipeline is asked for, `None` (the default where TransformerLens has True) takes each step where it
    is exact, and leaves it out where it means nothing: folding without norms, for ScaleNorm, post-norm blocks and
    gated MLPs behind a biased LayerNorm; centring what is written without a LayerNorm before every reader; centring
    the unembedding under a soft cap. An explicit True raises in these cases.
    """

    _build: Callable[[], None]

    def fold_layer_norm(
        self, state_dict: Mapping[str, Tensor], fold_biases: bool = True, center_weights: bool | None = None
    ) -> State:
        """The norms' weights moved into the matrices that read from them, which are then centred over `d_model`.

        The norms stay in the state dict as the identity, weights one and biases zero: it loads into this model, and
        into one of `LNPre` or `RMSPre`, which has no place for them.

        Args:
            fold_biases: may be False only where there are no norm biases, or they are zero.
            center_weights: default: where the norm centres, as LayerNorm does and RMSNorm does not.

        Raises:
            ProcessingError: norms that cannot be folded, biases that would be lost, centring behind an RMSNorm.
        """
        _require(steps.why_not_fold_layer_norm(self.cfg, dict(state_dict)), "fold_layer_norm")
        centres = self.cfg.normalization_type in ("LN", "LNPre")
        if center_weights and not centres:
            raise ProcessingError(
                "fold_layer_norm with center_weights=True: RMSNorm does not centre, so a constant column matters"
            )
        biases = [name for name, value in state_dict.items() if _is_norm_bias(name) and bool(value.any())]
        if biases and not fold_biases:
            raise ProcessingError(f"fold_layer_norm with fold_biases=False would lose {biases[0]}, which is not zero")
        center = centres if center_weights is None else center_weights
        folded = self._with(state_dict, Rewriting(fold_norms=True, center_readers=center))
        return folded | _as_identity({name: state_dict[name] for name in state_dict if name not in folded})

    def center_writing_weights(self, state_dict: Mapping[str, Tensor]) -> State:
        """Everything that is written into the stream made mean zero over `d_model`.

        Raises:
            ProcessingError: some reader has no LayerNorm before it, so the mean matters.
        """
        _require(steps.why_not_center_writing_weights(self.cfg), "center_writing_weights")
        return self._with(state_dict, Rewriting(center_writers=True))

    def center_unembed(self, state_dict: Mapping[str, Tensor]) -> State:
        """W_U and b_U made mean zero over the vocabulary; logits move by a constant, log-probabilities stay.

        Raises:
            ProcessingError: the logits have a soft cap.
        """
        _require(steps.why_not_center_unembed(self.cfg), "center_unembed")
        return self._with(state_dict, Rewriting(center_unembed=True))

    def fold_value_biases(self, state_dict: Mapping[str, Tensor]) -> State:
        """The value biases moved into b_O; exact because the rows of a pattern sum to one."""
        return self._with(state_dict, Rewriting(fold_value_biases=True))

    def refactor_factored_attn_matrices(self, state_dict: Mapping[str, Tensor]) -> State:
        """Each head in the basis of its singular vectors: W_Q and W_K of equal size, W_O a rotation.

        Raises:
            ProcessingError: rotary positions or grouped keys and values, which fix the basis.
        """
        _require(steps.why_not_refactor_factored_attn_matrices(self.cfg), "refactor_factored_attn_matrices")
        return self._with(state_dict, Rewriting(refactor=True))

    @torch.no_grad()
    def load_and_process_state_dict(
        self,
        state_dict: Mapping[str, Any],
        fold_ln: bool | None = None,
        center_writing_weights: bool | None = None,
        center_unembed: bool | None = None,
        fold_value_biases: bool = True,
        refactor_factored_attn_matrices: bool = False,
    ) -> None:
        """The weights in place, rewritten. Where norms are folded the model and its config change with them.

        LN becomes LNPre and RMS RMSPre, a tied unembedding is untied, and QKV biases appear where a norm had one.
        The parameters are then new objects: make an optimiser afterwards. Until all is found to be finite the old
        weights stay, so memory is needed for both; `from_pretrained` needs it once.

        Raises:
            CheckpointError: weights that do not fit the model.
            ProcessingError: a step explicitly asked for that is not exact here, or hooks on a model to be rebuilt.
        """
        state = dict(accepted(self, state_dict))
        rewriting = self._rewriting(
            state, fold_ln, center_writing_weights, center_unembed, fold_value_biases, refactor_factored_attn_matrices
        )
        state = self._rewritten(state, rewriting)
        config = _fitting(self.cfg, state, rewriting.fold_norms)
        if config == self.cfg:
            # In place: nothing else changes, and hooks and optimisers stay.
            self.load_state_dict(state)
        else:
            self._rebuild(config, state)

    @torch.no_grad()
    def _process_as_loaded(
        self,
        fold_ln: bool | None,
        center_writing_weights: bool | None,
        center_unembed: bool | None,
        fold_value_biases: bool,
        refactor_factored_attn_matrices: bool,
    ) -> None:
        """The weights rewritten where they stand, with no second copy; a model whose rewriting fails is lost."""
        state = dict(self.state_dict())
        rewriting = self._rewriting(
            state, fold_ln, center_writing_weights, center_unembed, fold_value_biases, refactor_factored_attn_matrices
        )
        for parameter in self.parameters():
            parameter.data = parameter.data.new_empty(0)
        state = self._rewritten(state, rewriting, owned=True)
        self._rebuild(_fitting(self.cfg, state, rewriting.fold_norms), state)

    def _rewriting(
        self,
        state: State,
        fold_ln: bool | None,
        center_writing_weights: bool | None,
        center_unembed: bool | None,
        fold_value_biases: bool,
        refactor: bool,
    ) -> Rewriting:
        config = self.cfg
        if refactor:
            _require(steps.why_not_refactor_factored_attn_matrices(config), "refactor_factored_attn_matrices")
        return Rewriting(
            _wanted(fold_ln, steps.why_not_fold_layer_norm(config, state), "fold_ln"),
            config.normalization_type == "LN",
            _wanted(center_writing_weights, steps.why_not_center_writing_weights(config), "center_writing_weights"),
            _wanted(center_unembed, steps.why_not_center_unembed(config), "center_unembed"),
            fold_value_biases,
            refactor,
        )

    def _rewritten(self, state: State, rewriting: Rewriting, owned: bool = False) -> State:
        config = self.cfg

        def rounded(name: str, value: Tensor) -> Tensor:
            value = value.to(config.dtype)
            require_finite(name, value)
            return value

        least = torch.promote_types(config.dtype, torch.float32)
        return rewrite(config, state, rewriting, rounded, least=least, owned=owned)

    @torch.no_grad()
    def _with(self, given: Mapping[str, Tensor], rewriting: Rewriting) -> State:
        # Entries that a step adds (an untied unembedding, biases) get the embedding's dtype.
        dtype = steps.entry(dict(given), "embed.W_E").dtype

        def rounded(name: str, value: Tensor) -> Tensor:
            return value.to(given[name].dtype if name in given else dtype)

        return rewrite(self.cfg, dict(given), rewriting, rounded)

    def process_weights_(
        self,
        fold_ln: bool | None = None,
        center_writing_weights: bool | None = None,
        center_unembed: bool | None = None,
        refactor_factored_attn_matrices: bool = False,
    ) -> None:
        """The model's own weights rewritten in place, value biases folded; as `load_and_process_state_dict`.

        Raises:
            ProcessingError: a step explicitly asked for that is not exact here, or hooks on a model to be rebuilt.
        """
        self.load_and_process_state_dict(
            self.state_dict(),
            fold_ln=fold_ln,
            center_writing_weights=center_writing_weights,
            center_unembed=center_unembed,
            refactor_factored_attn_matrices=refactor_factored_attn_matrices,
        )

    def _rebuild(self, config: HookedTransformerConfig, state: State) -> None:
        hooked = [name for name, point in self.hook_dict.items() if point.hooked]
        if hooked:
            raise ProcessingError(f"{hooked[0]} has hooks, which a rebuilt model would lose; call reset_hooks first")
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        self.cfg = config
        with torch.device("meta"):
            self._build()
        assemble(self, state, config)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self.train(self.training)


def _fitting(config: HookedTransformerConfig, state: State, folded: bool) -> HookedTransformerConfig:
    kind = config.normalization_type
    return replace(
        config,
        normalization_type=_PRE.get(kind, kind) if folded else kind,
        tie_word_embeddings=config.tie_word_embeddings and "unembed.W_U" not in state,
        qkv_bias=config.qkv_bias or "blocks.0.attn.b_Q" in state,
    )


def _require(why_not: str | None, step: str) -> None:
    if why_not is not None:
        raise ProcessingError(f"{step} would change what this model computes: {why_not}")


def _wanted(asked: bool | None, why_not: str | None, step: str) -> bool:
    if asked:
        _require(why_not, step)
    return why_not is None if asked is None else asked


def _as_identity(norms: Mapping[str, Tensor]) -> State:
    # Without these, a model that still has norms would keep its own, and apply them a second time.
    return {
        name: torch.ones_like(value) if name.endswith(".w") else torch.zeros_like(value)
        for name, value in norms.items()
    }


def _is_norm_bias(name: str) -> bool:
    return name.endswith((".ln1.b", ".ln2.b", ".ln.b")) or name == "ln_final.b"
