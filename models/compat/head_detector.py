"""TransformerLens' scores of previous-token, duplicate-token and induction heads."""

from transformer_lens.head_detector import *  # noqa: F403
