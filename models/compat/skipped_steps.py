"""The rewritings that TransformerLens leaves out of what a notebook asks for, left out with a warning.

TransformerLens 3.9 reads `center_writing_weights=True` as "where the model has LayerNorms", and so on. Where it does
not leave a step out, but changes what the model computes, or stops, the step stays an error, as it is in `models`.
"""

from .. import processing_steps as steps
from ..config import HookedTransformerConfig
from ..processing_steps import State
from ..warned import warned

_AS_THERE = "as in TransformerLens"
_WRONG_THERE = "which TransformerLens 3.9 does here, and changes the logits"


def heard_fold_ln(config: HookedTransformerConfig, state: State, asked: bool | None) -> bool | None:
    """As asked for, or None ("where it is exact") with a warning where TransformerLens leaves the folding out."""
    # TransformerLens folds a gated MLP behind a biased LayerNorm, and the model is another one then.
    left_out = (
        config.normalization_type is None
        or config.norm_placement == "post"
        or config.positional_embedding_type == "shortformer"
    )
    return _heard("fold_ln", asked, left_out, steps.why_not_fold_layer_norm(config, state))


def heard_center_writing_weights(config: HookedTransformerConfig, asked: bool | None) -> bool | None:
    """As asked for, or None with a warning where TransformerLens leaves the centring of what is written out."""
    # TransformerLens centres between norms before and after, where the mean matters.
    left_out = config.normalization_type not in ("LN", "LNPre") or config.final_rms or config.norm_placement == "post"
    there = _AS_THERE
    if config.final_rms and config.normalization_type in ("LN", "LNPre"):
        there = "which TransformerLens 3.9 does by halves, and changes the logits"
    return _heard("center_writing_weights", asked, left_out, steps.why_not_center_writing_weights(config), there)


def heard_center_unembed(config: HookedTransformerConfig, asked: bool | None) -> bool | None:
    """As asked for, or None with a warning where TransformerLens leaves the centring of the logits out."""
    return _heard("center_unembed", asked, True, steps.why_not_center_unembed(config))


def heard_in_place(
    config: HookedTransformerConfig, fold_ln: bool | None, center_unembed: bool | None
) -> tuple[bool | None, bool | None]:
    """As asked for, or None with a warning where TransformerLens takes the step in `process_weights_` and is wrong.

    It leaves both out in `from_pretrained`, and in `load_and_process_state_dict` it does not.
    """
    folds = config.positional_embedding_type == "shortformer" and config.normalization_type in ("LN", "RMS")
    return (
        _heard("fold_ln", fold_ln, folds, steps.why_not_fold_layer_norm(config, {}), _WRONG_THERE),
        _heard("center_unembed", center_unembed, True, steps.why_not_center_unembed(config), _WRONG_THERE),
    )


def _heard(step: str, asked: bool | None, left_out: bool, why_not: str | None, there: str = _AS_THERE) -> bool | None:
    if not asked or why_not is None or not left_out:
        return asked
    warned(f"{step}=True is left out, {there} ({why_not}); everything else is done")
    return None
