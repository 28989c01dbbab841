"""Metrics: logits to one number per prompt, each telling which positions and token columns it reads.

A metric is a function of what it declares and of nothing else: `metric(logits)` first selects, then computes `of` what
was selected. Whoever runs the model may therefore compute those positions and columns alone. What is read is widened
to float64 first, whatever the model's dtype.
"""

from .divergence import Divergence as Divergence
from .function import Function as Function
from .likelihood import LogProbability as LogProbability
from .likelihood import Loss as Loss
from .likelihood import Probability as Probability
from .logit_difference import LogitDifference as LogitDifference
from .metric import Metric as Metric
from .ranking import Accuracy as Accuracy
from .ranking import Rank as Rank
