"""Tasks: prompt pairs (clean, corrupted) with answers, built in, from a file, or of your own.

pairs = built_in("ioi").on(model)
print(pairs, pairs.baseline(model))
sweep(model, pairs.clean, pairs.corrupted, "z", ("layer", "head"), pairs.metric, direction="denoising")
"""

from .answer_sets import ProbabilityDifference as ProbabilityDifference
from .baseline import Baseline as Baseline
from .built_in import TASKS as TASKS
from .built_in import built_in as built_in
from .built_in.agreement import agreement as agreement
from .built_in.brackets import brackets as brackets
from .built_in.capitals import capitals as capitals
from .built_in.docstring import docstring as docstring
from .built_in.greater_than import greater_than as greater_than
from .built_in.induction import induction as induction
from .built_in.ioi import ioi as ioi
from .built_in.key_value import key_value as key_value
from .built_in.pronouns import pronouns as pronouns
from .files import read_task as read_task
from .pair import Pair as Pair
from .prompt_pairs import PromptPairs as PromptPairs
from .task import DrawnTask as DrawnTask
from .task import Task as Task
