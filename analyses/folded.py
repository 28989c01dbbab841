"""A copy of a model whose norms are folded, as analyses of weights need it."""

from copy import deepcopy

from models import HookedTransformer


def folded_copy(model: HookedTransformer) -> tuple[HookedTransformer, str]:
    """A copy whose reading norms are folded into the matrices behind them, and a sentence that says so.

    Nothing else is rewritten: value biases stay where they are, and nothing is centred but what a LayerNorm reads.
    Where the norms cannot be folded (post-norm blocks, ScaleNorm, no norm) the copy's weights are as they were.
    """
    folded = deepcopy(model)
    folded.reset_hooks()
    before = folded.cfg.normalization_type
    folded.load_and_process_state_dict(
        model.state_dict(), center_writing_weights=False, center_unembed=False, fold_value_biases=False
    )
    after = folded.cfg.normalization_type
    if after in ("LNPre", "RMSPre"):
        return folded, "The norms' weights were folded into the matrices that read from them before anything was read."
    if before is None:
        return folded, "The model has no norms, so its weights are what it applies."
    return folded, (
        f"The norms ({before}, {folded.cfg.norm_placement}-norm blocks) cannot be folded: the weights are read without "
        "them, and what a head applies differs by the norm's weights."
    )
