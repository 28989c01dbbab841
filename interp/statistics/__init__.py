"""Uncertainty over what could have been another: prompts, which are resampled or flipped, and seeds, which are few.

Prompts of one template resemble one another. Where they are named as clusters, whole clusters are resampled and
flipped, and the number of prompts no longer counts.
"""

from .bootstrap import over_prompts as over_prompts
from .bootstrap import ratio_of_means as ratio_of_means
from .bootstrap import standard_error as standard_error
from .estimate import Estimate as Estimate
from .false_discovery import benjamini_hochberg as benjamini_hochberg
from .false_discovery import benjamini_yekutieli as benjamini_yekutieli
from .flips import SignFlips as SignFlips
from .flips import sign_flip_p_values as sign_flip_p_values
from .flips import sign_flips as sign_flips
from .flips import smallest_p as smallest_p
from .seeds import over_seeds as over_seeds
