"""The result of a sweep: the metric of every cell on every prompt, with names on its axes."""

from .effects import Direction as Direction
from .effects import Effects as Effects
from .verification import Verification as Verification
